// The reference reader of a release 3.x. The go.mod beside it pins the release.
package main

import (
	"context"
	"io"
	"reflect"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/silly"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/middleware/redirect"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/middleware/rewrite"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"reader"
)

func main() {
	logrus.SetOutput(io.Discard)
	reader.Serve(reader.Release{
		Configuration: reflect.TypeFor[configuration.Configuration](),
		Read: func(file string) (any, error) {
			return configuration.Parse(strings.NewReader(file))
		},
		Start: func(read any) {
			config := read.(*configuration.Configuration)
			delete(config.Storage, config.Storage.Type())
			config.Storage["inmemory"] = configuration.Parameters{}
			// An app registers its metrics, and only one app per process can do so.
			prometheus.DefaultRegisterer = prometheus.NewRegistry()
			handlers.NewApp(context.Background(), config).Shutdown()
		},
	})
}
