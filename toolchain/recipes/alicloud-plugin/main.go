// Command pulumi-resource-alicloud bridges the upstream Terraform provider for Alibaba Cloud to
// Pulumi, with the tokens and property names of the vendor's plugin of the same version, for
// machines that reach a Go module mirror but no download site. It knows the resources that
// oss-registry uses.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/aliyun/terraform-provider-alicloud/alicloud"
	"github.com/hashicorp/terraform-plugin-sdk/helper/schema"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfgen"
	shimv1 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// version is set by the linker.
var version = "0.0.0-dev"

func resource(module, file, name string) *tfbridge.ResourceInfo {
	token := fmt.Sprintf("alicloud:%s/%s:%s", module, file, name)
	return &tfbridge.ResourceInfo{Tok: tokens.Type(token)}
}

func main() {
	resources := map[string]*tfbridge.ResourceInfo{
		"alicloud_oss_bucket":                        resource("oss", "bucket", "Bucket"),
		"alicloud_oss_bucket_acl":                    resource("oss", "bucketAcl", "BucketAcl"),
		"alicloud_oss_bucket_https_config":           resource("oss", "bucketHttpsConfig", "BucketHttpsConfig"),
		"alicloud_oss_bucket_policy":                 resource("oss", "bucketPolicy", "BucketPolicy"),
		"alicloud_oss_bucket_public_access_block":    resource("oss", "bucketPublicAccessBlock", "BucketPublicAccessBlock"),
		"alicloud_oss_bucket_server_side_encryption": resource("oss", "bucketServerSideEncryption", "BucketServerSideEncryption"),
		"alicloud_oss_bucket_versioning":             resource("oss", "bucketVersioning", "BucketVersioning"),
		"alicloud_ram_access_key":                    resource("ram", "accessKey", "AccessKey"),
		"alicloud_ram_policy":                        resource("ram", "policy", "Policy"),
		"alicloud_ram_user":                          resource("ram", "user", "User"),
		"alicloud_ram_user_policy_attachment":        resource("ram", "userPolicyAttachment", "UserPolicyAttachment"),
	}

	upstream := alicloud.Provider().(*schema.Provider)
	for name := range upstream.ResourcesMap {
		if resources[name] == nil {
			delete(upstream.ResourcesMap, name)
		}
	}
	clear(upstream.DataSourcesMap)

	info := tfbridge.ProviderInfo{
		P:            shimv1.NewProvider(upstream),
		Name:         "alicloud",
		Version:      version,
		Resources:    resources,
		MetadataInfo: tfbridge.NewProviderMetadata([]byte("{}")),
	}
	schema, err := tfgen.GenerateSchemaWithOptions(tfgen.GenerateSchemaOptions{
		ProviderInfo:    info,
		DiagnosticsSink: diag.DefaultSink(io.Discard, io.Discard, diag.FormatOptions{Color: colors.Never}),
		XInMemoryDocs:   true,
	})
	if err != nil {
		fail(err)
	}
	text, err := json.Marshal(schema.PackageSpec)
	if err != nil {
		fail(err)
	}
	tfbridge.Main("alicloud", version, info, text)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pulumi-resource-alicloud:", err)
	os.Exit(1)
}
