// The reference reader of release 2.8.3.
package main

import (
	"context"
	"io"
	"reflect"
	"strings"

	"github.com/docker/distribution/configuration"
	_ "github.com/docker/distribution/registry/auth/htpasswd"
	_ "github.com/docker/distribution/registry/auth/silly"
	_ "github.com/docker/distribution/registry/auth/token"
	"github.com/docker/distribution/registry/handlers"
	_ "github.com/docker/distribution/registry/storage/driver/inmemory"
	_ "github.com/docker/distribution/registry/storage/driver/middleware/redirect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"reader"
)

func main() {
	logrus.SetOutput(io.Discard)
	reader.Serve(reader.Release{
		Configuration: reflect.TypeOf(configuration.Configuration{}),
		Read: func(file string) (any, error) {
			return configuration.Parse(strings.NewReader(file))
		},
		Start: func(read any) {
			config := read.(*configuration.Configuration)
			delete(config.Storage, config.Storage.Type())
			config.Storage["inmemory"] = configuration.Parameters{}
			// An app registers its metrics, and only one app per process can do so.
			prometheus.DefaultRegisterer = prometheus.NewRegistry()
			handlers.NewApp(context.Background(), config)
		},
	})
}
