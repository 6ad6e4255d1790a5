// Command compose-config prints a Compose file as JSON, resolved by the loader of Docker Compose.
//
// It has the options and the output of `docker compose OPTIONS config --format json`. In addition,
// the output has the content of secrets that are variables of the environment.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// values is an option that can be given several times.
type values []string

func (v *values) String() string { return strings.Join(*v, ",") }

func (v *values) Set(value string) error {
	*v = append(*v, value)
	return nil
}

func main() {
	if err := printProject(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func printProject() error {
	var files, envFiles, profiles values
	flag.Var(&files, "file", "a Compose file (default: the one that Compose finds here)")
	flag.Var(&envFiles, "env-file", "a file with variables (default: .env)")
	flag.Var(&profiles, "profile", "a profile to enable (default: those in COMPOSE_PROFILES)")
	name := flag.String("project-name", "", "the name of the project (default: that of the file)")
	flag.Parse()

	// The same options in the same order as in Compose. The second search for .env looks in the
	// folder of the Compose file, which may be a parent of this one.
	options, err := cli.NewProjectOptions(files,
		cli.WithOsEnv,
		cli.WithEnvFiles(envFiles...),
		cli.WithDotEnv,
		cli.WithConfigFileEnv,
		cli.WithDefaultConfigPath,
		cli.WithEnvFiles(envFiles...),
		cli.WithDotEnv,
		cli.WithDefaultProfiles(profiles...),
		cli.WithName(*name),
	)
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	text, err := project.MarshalJSON(types.WithSecretContent)
	if err != nil {
		return err
	}
	// Compose doubles each $, so that its output is a valid Compose file.
	fmt.Println(strings.ReplaceAll(string(text), "$", "$$"))
	return nil
}
