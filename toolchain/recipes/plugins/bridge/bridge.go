// Package bridge makes a Pulumi plugin from an upstream Terraform provider, with the tokens and property
// names of the vendor's plugin of the same version. The plugin has only the given resources.
package bridge

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfgen"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// Resource is the upstream resource that the plugin calls provider:module/file:name.
func Resource(provider, module, file, name string) *tfbridge.ResourceInfo {
	token := fmt.Sprintf("%s:%s/%s:%s", provider, module, file, name)
	return &tfbridge.ResourceInfo{Tok: tokens.Type(token)}
}

// Keep deletes all entries of upstream, a provider's map of resources, that are not in resources.
func Keep[Upstream any](upstream map[string]Upstream, resources map[string]*tfbridge.ResourceInfo) {
	for name := range upstream {
		if resources[name] == nil {
			delete(upstream, name)
		}
	}
}

// Main serves the plugin until Pulumi ends it.
func Main(info tfbridge.ProviderInfo) {
	info.MetadataInfo = tfbridge.NewProviderMetadata([]byte("{}"))
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
	tfbridge.Main(info.Name, info.Version, info, text)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "plugin:", err)
	os.Exit(1)
}
