// Command pulumi-resource-docker is the upstream Terraform provider for Docker as a Pulumi plugin,
// for machines that reach a Go module mirror but no download site.
package main

import (
	"oss-registry.invalid/bridge"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"

	"github.com/terraform-providers/terraform-provider-docker/internal/provider"
)

// version is set by the linker.
var version = "0.0.0-dev"

func resource(file, name string) *tfbridge.ResourceInfo {
	return bridge.Resource("docker", "index", file, name)
}

func main() {
	container := resource("container", "Container")
	container.DeleteBeforeReplace = true
	// Without these names, the bridge would use their plurals.
	container.Fields = map[string]*tfbridge.SchemaInfo{
		"command":           {Name: "command"},
		"networks_advanced": {Name: "networksAdvanced"},
	}
	resources := map[string]*tfbridge.ResourceInfo{
		"docker_config":    resource("serviceConfig", "ServiceConfig"),
		"docker_container": container,
		"docker_image":     resource("remoteImage", "RemoteImage"),
		"docker_network":   resource("network", "Network"),
		"docker_secret":    resource("secret", "Secret"),
		"docker_service":   resource("service", "Service"),
		"docker_volume":    resource("volume", "Volume"),
	}
	upstream := provider.New(version)()
	bridge.Keep(upstream.ResourcesMap, resources)
	clear(upstream.DataSourcesMap)

	several := false
	bridge.Main(tfbridge.ProviderInfo{
		P:         shimv2.NewProvider(upstream),
		Name:      "docker",
		Version:   version,
		Resources: resources,
		Config: map[string]*tfbridge.SchemaInfo{
			"host": {Default: &tfbridge.DefaultInfo{
				EnvVars: []string{"DOCKER_HOST"}, Value: "unix:///var/run/docker.sock",
			}},
			"registry_auth": {Name: "registryAuth", MaxItemsOne: &several},
		},
	})
}
