module github.com/alibabacloud-go/alibabacloud-gateway-oss

go 1.26
