// Package client replaces the gateway module of the same path, which no module mirror serves. It
// converts the generic calls of Alibaba Cloud's OpenAPI client to calls to OSS. It implements only
// what the provider uses: sub-resources of a bucket, XML and JSON, and Signature V4.
package client

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	spi "github.com/alibabacloud-go/alibabacloud-gateway-spi/client"
	xml "github.com/alibabacloud-go/tea-xml/service"
	"github.com/alibabacloud-go/tea/tea"
	"github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss/credentials"
	"github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss/signer"
)

type Client struct{ spi.Client }

func NewClient() (*Client, error) { return new(Client), nil }

func (*Client) ModifyConfiguration(*spi.InterceptorContext, *spi.AttributeMap) error { return nil }

func (*Client) ModifyRequest(context *spi.InterceptorContext, _ *spi.AttributeMap) error {
	request := context.Request
	bucket := tea.StringValue(request.HostMap["bucket"])
	host := tea.StringValue(context.Configuration.Endpoint)
	if bucket != "" {
		host = bucket + "." + host
	}
	// The path contains the sub-resource: `/?acl`.
	path, sub, _ := strings.Cut(tea.StringValue(request.Pathname), "?")
	query, err := url.ParseQuery(sub)
	if err != nil {
		return err
	}
	for key, value := range request.Query {
		query.Set(key, tea.StringValue(value))
	}
	body, kind, err := encoded(request)
	if err != nil {
		return err
	}
	credential, err := request.Credential.GetCredential()
	if err != nil {
		return err
	}

	address := &url.URL{Scheme: "https", Host: host, Path: path, RawQuery: query.Encode()}
	signed, err := http.NewRequest(tea.StringValue(request.Method), address.String(), nil)
	if err != nil {
		return err
	}
	for key, value := range request.Headers {
		// These headers are for the OpenAPI client, not for OSS.
		if !strings.HasPrefix(strings.ToLower(key), "x-acs-") {
			signed.Header.Set(key, tea.StringValue(value))
		}
	}
	signed.Header.Set("User-Agent", tea.StringValue(request.UserAgent))
	if body != nil {
		sum := md5.Sum(body)
		signed.Header.Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
		signed.Header.Set("Content-Type", kind)
		request.Stream = bytes.NewReader(body)
	}
	err = new(signer.SignerV4).Sign(signed.Context(), &signer.SigningContext{
		Product: tea.String("oss"),
		Region:  context.Configuration.RegionId,
		Bucket:  &bucket,
		Request: signed,
		Credentials: &credentials.Credentials{
			AccessKeyID:     tea.StringValue(credential.AccessKeyId),
			AccessKeySecret: tea.StringValue(credential.AccessKeySecret),
			SecurityToken:   tea.StringValue(credential.SecurityToken),
		},
	})
	if err != nil {
		return err
	}

	request.Headers = map[string]*string{"host": &host}
	for key := range signed.Header {
		request.Headers[strings.ToLower(key)] = tea.String(signed.Header.Get(key))
	}
	request.Pathname = &path
	request.Query = map[string]*string{}
	for key := range query {
		request.Query[key] = tea.String(query.Get(key))
	}
	return nil
}

func encoded(request *spi.InterceptorContextRequest) (body []byte, kind string, err error) {
	switch content := request.Body.(type) {
	case nil:
		return nil, "", nil
	case string:
		return []byte(content), "application/json", nil
	case map[string]interface{}:
		if len(content) == 0 {
			return nil, "", nil
		}
		if tea.StringValue(request.ReqBodyType) == "xml" {
			return []byte(tea.StringValue(xml.ToXML(content))), "application/xml", nil
		}
		body, err = json.Marshal(content)
		return body, "application/json", err
	default:
		body, err = json.Marshal(content)
		return body, "application/json", err
	}
}

func (*Client) ModifyResponse(context *spi.InterceptorContext, _ *spi.AttributeMap) error {
	response := context.Response
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	status := tea.IntValue(response.StatusCode)
	if status >= 400 {
		return failure(status, text)
	}
	if len(text) == 0 {
		return nil
	}
	if tea.StringValue(context.Request.BodyType) == "json" {
		var content map[string]interface{}
		err = json.Unmarshal(text, &content)
		response.DeserializedBody = content
		return err
	}
	response.DeserializedBody = xml.ParseXml(tea.String(string(text)), nil)
	return nil
}

func failure(status int, text []byte) error {
	fault, _ := xml.ParseXml(tea.String(string(text)), nil)["Error"].(map[string]interface{})
	if fault == nil {
		fault = map[string]interface{}{"Code": http.StatusText(status), "Message": string(text)}
	}
	return tea.NewSDKError(map[string]interface{}{
		"code":       fault["Code"],
		"message":    fault["Message"],
		"statusCode": status,
		"data": map[string]interface{}{
			"httpCode":  status,
			"requestId": fault["RequestId"],
			"hostId":    fault["HostId"],
		},
	})
}
