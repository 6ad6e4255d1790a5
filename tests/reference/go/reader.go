// Package reader reports how one release of the registry understands a configuration.
//
// A program serves one release. It reads requests as JSON from standard input, one per line. It
// writes one line for each: {"result": …} or {"error": "…"}. A panic of the registry is an error.
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

// Release has the parts that differ between the Go packages of the releases.
type Release struct {
	// Configuration is the type that a configuration file is read into.
	Configuration reflect.Type
	// Read reads a config file. Variables of this process override it.
	Read func(file string) (any, error)
	// Start creates the registry's app for a configuration, with storage in memory.
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

// answer handles one request.
func answer(release Release, line []byte) (result any, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic: %v", reason)
		}
	}()
	var received request
	if err := json.Unmarshal(line, &received); err != nil {
		return nil, err
	}
	if received.Verb == "schema" {
		return schemaOf(release), nil
	}
	os.Clearenv()
	for name, value := range received.Environment {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	configuration, err := release.Read(received.File)
	if err != nil {
		return nil, err
	}
	if received.Verb == "start" {
		release.Start(configuration)
		return nil, nil
	}
	return jsonValue(reflect.ValueOf(configuration)), nil
}

// field is a field of a configuration struct that a file can set.
type field struct {
	// key is its key in a file.
	key string
	// name is its name in a variable.
	name string
	// inlined is the name of the inlined struct that has the field, with an underscore. Some
	// releases need it before name in a variable.
	inlined string
	index   []int
	kind    reflect.Type
}

// fieldsOf lists the fields that a file can set in a struct, including those of inlined structs.
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
			fields = append(fields, field{key: tag, name: name, index: []int{number}, kind: member.Type})
		}
	}
	return fields
}

// settable excludes types that no file can hold: functions, and the TLS configuration of go-redis.
func settable(kind reflect.Type) bool {
	return kind.Kind() != reflect.Func && kind.String() != "*tls.Config"
}

var duration = reflect.TypeOf(time.Duration(0))

// jsonValue converts a configuration to values that JSON can represent. Keys are those of a file,
// and durations are in nanoseconds.
func jsonValue(value reflect.Value) any {
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if value.IsNil() {
			return nil
		}
		return jsonValue(value.Elem())
	case reflect.Struct:
		entries := map[string]any{}
		for _, field := range fieldsOf(value.Type()) {
			entries[field.key] = jsonValue(value.FieldByIndex(field.index))
		}
		return entries
	case reflect.Map:
		entries := map[string]any{}
		for _, key := range value.MapKeys() {
			entries[fmt.Sprint(key.Interface())] = jsonValue(value.MapIndex(key))
		}
		return entries
	case reflect.Slice:
		items := make([]any, value.Len())
		for number := range items {
			items[number] = jsonValue(value.Index(number))
		}
		return items
	}
	return value.Interface()
}

// schema describes what a release understands.
type schema struct {
	// Keys has the keys with their kinds.
	Keys any `json:"keys"`
	// Names has the names of variables that are not the key in upper case, by path.
	Names map[string]string `json:"names"`
	// Whole has the paths of sections that variables cannot set key by key.
	Whole []string `json:"whole"`
}

// schemaOf derives the schema from the Go types of a release.
func schemaOf(release Release) schema {
	found := schema{Names: map[string]string{}, Whole: []string{}}
	bareNames := acceptsBareNames(release)
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
				if !bareNames {
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
	delete(keys, "version") // the version of the file format, not a setting
	found.Keys = keys
	return found
}

// acceptsBareNames tests whether a variable can name a field of an inlined struct without the name
// of that struct. Only the redis section has such a struct.
func acceptsBareNames(release Release) bool {
	os.Clearenv()
	os.Setenv("REGISTRY_REDIS_DB", "7")
	configuration, err := release.Read("{version: 0.1, storage: inmemory}")
	if err != nil {
		panic(err)
	}
	redis := jsonValue(reflect.ValueOf(configuration)).(map[string]any)["redis"]
	return fmt.Sprint(redis.(map[string]any)["db"]) == "7"
}
