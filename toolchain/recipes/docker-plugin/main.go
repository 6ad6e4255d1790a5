// Command pulumi-resource-docker bridges the upstream Terraform provider for Docker to Pulumi,
// with the tokens and property names of the vendor's plugin of the same version, for machines
// that reach a Go module mirror but no download site. It knows the resources that oss-registry uses.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfgen"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"

	"github.com/terraform-providers/terraform-provider-docker/internal/provider"
)

// version is set by the linker.
var version = "0.0.0-dev"

func resource(file, name string) *tfbridge.ResourceInfo {
	return &tfbridge.ResourceInfo{Tok: tokens.Type(fmt.Sprintf("docker:index/%s:%s", file, name))}
}

func main() {
	container := resource("container", "Container")
	container.DeleteBeforeReplace = true
	// Without these the bridge would make plurals of them.
	container.Fields = map[string]*tfbridge.SchemaInfo{
		"command":           {Name: "command"},
		"networks_advanced": {Name: "networksAdvanced"},
	}
	resources := map[string]*tfbridge.ResourceInfo{
		"docker_container": container,
		"docker_image":     resource("remoteImage", "RemoteImage"),
		"docker_network":   resource("network", "Network"),
		"docker_volume":    resource("volume", "Volume"),
	}

	upstream := provider.New(version)()
	for name := range upstream.ResourcesMap {
		if resources[name] == nil {
			delete(upstream.ResourcesMap, name)
		}
	}
	clear(upstream.DataSourcesMap)

	several := false
	info := tfbridge.ProviderInfo{
		P:            shimv2.NewProvider(upstream),
		Name:         "docker",
		Version:      version,
		Resources:    resources,
		MetadataInfo: tfbridge.NewProviderMetadata([]byte("{}")),
		Config: map[string]*tfbridge.SchemaInfo{
			"host": {Default: &tfbridge.DefaultInfo{
				EnvVars: []string{"DOCKER_HOST"}, Value: "unix:///var/run/docker.sock",
			}},
			"registry_auth": {Name: "registryAuth", MaxItemsOne: &several},
		},
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
	tfbridge.Main("docker", version, info, text)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pulumi-resource-docker:", err)
	os.Exit(1)
}
