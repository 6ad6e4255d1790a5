// Command pulumi-resource-alicloud is the upstream Terraform provider for Alibaba Cloud as a Pulumi
// plugin, for machines that reach a Go module mirror but no download site.
package main

import (
	"oss-registry.invalid/bridge"

	"github.com/aliyun/terraform-provider-alicloud/alicloud"
	"github.com/hashicorp/terraform-plugin-sdk/helper/schema"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shimv1 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v1"
)

// version is set by the linker.
var version = "0.0.0-dev"

func oss(file, name string) *tfbridge.ResourceInfo {
	return bridge.Resource("alicloud", "oss", file, name)
}

func ram(file, name string) *tfbridge.ResourceInfo {
	return bridge.Resource("alicloud", "ram", file, name)
}

func main() {
	resources := map[string]*tfbridge.ResourceInfo{
		"alicloud_oss_bucket":                        oss("bucket", "Bucket"),
		"alicloud_oss_bucket_acl":                    oss("bucketAcl", "BucketAcl"),
		"alicloud_oss_bucket_https_config":           oss("bucketHttpsConfig", "BucketHttpsConfig"),
		"alicloud_oss_bucket_policy":                 oss("bucketPolicy", "BucketPolicy"),
		"alicloud_oss_bucket_public_access_block":    oss("bucketPublicAccessBlock", "BucketPublicAccessBlock"),
		"alicloud_oss_bucket_server_side_encryption": oss("bucketServerSideEncryption", "BucketServerSideEncryption"),
		"alicloud_oss_bucket_versioning":             oss("bucketVersioning", "BucketVersioning"),
		"alicloud_ram_access_key":                    ram("accessKey", "AccessKey"),
		"alicloud_ram_policy":                        ram("policy", "Policy"),
		"alicloud_ram_user":                          ram("user", "User"),
		"alicloud_ram_user_policy_attachment":        ram("userPolicyAttachment", "UserPolicyAttachment"),
	}
	upstream := alicloud.Provider().(*schema.Provider)
	bridge.Keep(upstream.ResourcesMap, resources)
	clear(upstream.DataSourcesMap)

	bridge.Main(tfbridge.ProviderInfo{
		P:         shimv1.NewProvider(upstream),
		Name:      "alicloud",
		Version:   version,
		Resources: resources,
	})
}
