// Package reader lets a test ask one release of the registry how it understands a configuration.
//
// A program serves one release. It reads a request a line from standard input, as JSON, and writes
// an answer a line: {"result": …} or {"error": "…"}; a panic of the registry is an error too.
package reader

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"
)

// Release is what differs between two releases' Go packages.
type Release struct {
	// Configuration is the type that a configuration file is read into.
	Configuration reflect.Type
	// Read reads a file, with this process's environment over it.
	Read func(file string) (any, error)
	// Start makes an app of a configuration that was read, on storage in memory.
	Start func(configuration any)
}

type request struct {
	Verb        string            `json:"verb"`
	File        string            `json:"file"`
	Environment map[string]string `json:"environment"`
}

// Serve answers requests until standard input ends.
func Serve(release Release) {
	answers := json.NewEncoder(os.Stdout)
	answers.SetEscapeHTML(false)
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		result, err := answer(release, line)
		if err != nil {
			answers.Encode(map[string]string{"error": err.Error()})
		} else {
			answers.Encode(map[string]any{"result": result})
		}
	}
}

func answer(release Release, line []byte) (result any, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic: %v", reason)
		}
	}()
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return nil, err
	}
	if asked.Verb == "schema" {
		return schemaOf(release), nil
	}
	os.Clearenv()
	for name, value := range asked.Environment {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	configuration, err := release.Read(asked.File)
	if err != nil {
		return nil, err
	}
	if asked.Verb == "start" {
		release.Start(configuration)
		return nil, nil
	}
	return plain(reflect.ValueOf(configuration)), nil
}

// field is a field of a configuration struct by its key in a file; name is for its variable, after
// inlined where the release knows no field of an inlined struct by name alone.
type field struct {
	key, name, inlined string
	index              []int
	kind               reflect.Type
}

// fieldsOf lists what a file can set in a struct, those of an inlined struct among them; their
// names may begin with that struct's.
func fieldsOf(structure reflect.Type) []field {
	var fields []field
	for number := 0; number < structure.NumField(); number++ {
		member := structure.Field(number)
		tag, options, _ := strings.Cut(member.Tag.Get("yaml"), ",")
		if options == "inline" {
			for _, inner := range fieldsOf(member.Type) {
				inner.index = append([]int{number}, inner.index...)
				inner.inlined = strings.ToUpper(member.Name) + "_"
				fields = append(fields, inner)
			}
			continue
		}
		if tag == "" {
			tag = strings.ToLower(member.Name)
		}
		if settable(member.Type) {
			name := strings.ToUpper(member.Name)
			fields = append(fields, field{tag, name, "", []int{number}, member.Type})
		}
	}
	return fields
}

// settable leaves out what no file can hold: functions, and go-redis's own TLS configuration.
func settable(kind reflect.Type) bool {
	return kind.Kind() != reflect.Func && kind.String() != "*tls.Config"
}

var duration = reflect.TypeOf(time.Duration(0))

// plain is a configuration as JSON can carry it, by the keys of a file; a duration in nanoseconds.
func plain(value reflect.Value) any {
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if value.IsNil() {
			return nil
		}
		return plain(value.Elem())
	case reflect.Struct:
		entries := map[string]any{}
		for _, field := range fieldsOf(value.Type()) {
			entries[field.key] = plain(value.FieldByIndex(field.index))
		}
		return entries
	case reflect.Map:
		entries := map[string]any{}
		for _, key := range value.MapKeys() {
			entries[fmt.Sprint(key.Interface())] = plain(value.MapIndex(key))
		}
		return entries
	case reflect.Slice:
		items := make([]any, value.Len())
		for number := range items {
			items[number] = plain(value.Index(number))
		}
		return items
	}
	return value.Interface()
}

// schema is what a release understands: the keys with their kinds, the names of variables that are
// not the key in upper case, and the sections that variables can't set key by key.
type schema struct {
	Keys  any               `json:"keys"`
	Names map[string]string `json:"names"`
	Whole []string          `json:"whole"`
}

func schemaOf(release Release) schema {
	found := schema{Names: map[string]string{}, Whole: []string{}}
	sees := seesThroughInlined(release)
	var describe func(path string, kind reflect.Type) any
	describe = func(path string, kind reflect.Type) any {
		if kind == duration {
			return "duration"
		}
		switch kind.Kind() {
		case reflect.Pointer:
			if kind.Elem().Kind() == reflect.Struct {
				found.Whole = append(found.Whole, path)
			}
			return describe(path, kind.Elem())
		case reflect.Struct:
			keys := map[string]any{}
			for _, field := range fieldsOf(kind) {
				below := strings.TrimPrefix(path+"."+field.key, ".")
				if !sees {
					field.name = field.inlined + field.name
				}
				if field.name != strings.ToUpper(field.key) && !strings.Contains(below, "[]") {
					found.Names[below] = field.name
				}
				keys[field.key] = describe(below, field.kind)
			}
			return keys
		case reflect.Map:
			return map[string]any{"*": describe(path+".*", kind.Elem())}
		case reflect.Slice:
			return []any{describe(path+"[]", kind.Elem())}
		case reflect.Interface:
			return "any"
		default:
			return kind.Kind().String()
		}
	}
	keys := describe("", release.Configuration).(map[string]any)
	delete(keys, "version") // the file's own, not the registry's
	found.Keys = keys
	return found
}

// seesThroughInlined tries whether a variable can name a field of an inlined struct, redis's.
func seesThroughInlined(release Release) bool {
	os.Clearenv()
	os.Setenv("REGISTRY_REDIS_DB", "7")
	configuration, err := release.Read("{version: 0.1, storage: inmemory}")
	if err != nil {
		panic(err)
	}
	redis := plain(reflect.ValueOf(configuration)).(map[string]any)["redis"]
	return fmt.Sprint(redis.(map[string]any)["db"]) == "7"
}
