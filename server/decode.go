package server

import (
	"encoding"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Limits on a configuration file.
const (
	maxConfigBytes = 4 << 20
	maxConfigDepth = 16
	maxMistakes    = 20
)

// Mistake is one thing wrong in a configuration file.
type Mistake struct {
	File string
	Line int    // 0 when it concerns the file as a whole
	Key  string // "resources[0].upstream"
	Text string
}

func (m Mistake) String() string {
	s := m.File
	if m.Line > 0 {
		s += ":" + strconv.Itoa(m.Line)
	}
	if m.Key != "" {
		s += ": " + m.Key
	}
	return s + ": " + m.Text
}

// ConfigError says what is wrong in a configuration. Commands end with exit code 2 on it.
type ConfigError struct{ Mistakes []Mistake }

func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// source remembers where each key of a file stands, for mistakes that are found after decoding.
type source struct {
	file     string
	lines    map[string]int
	mistakes []Mistake
}

// mistake adds a mistake at a key, or at the nearest enclosing key that the file has.
func (s *source) mistake(key, format string, args ...any) {
	if len(s.mistakes) >= maxMistakes {
		return
	}
	s.mistakes = append(s.mistakes, Mistake{File: s.file, Line: s.line(key), Key: key, Text: fmt.Sprintf(format, args...)})
}

func (s *source) line(key string) int {
	for {
		if n, ok := s.lines[key]; ok {
			return n
		}
		i := strings.LastIndexAny(key, ".[")
		if i < 0 {
			return 0
		}
		key = key[:i]
	}
}

// err returns what is wrong so far, in the order of the file.
func (s *source) err() error {
	if len(s.mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(s.mistakes, func(a, b Mistake) int { return a.Line - b.Line })
	return &ConfigError{Mistakes: s.mistakes}
}

// decodeFile decodes the YAML file strictly into the struct that into points to. Every key must be a
// field's yaml tag, every value of the field's type; a key may stand once.
func decodeFile(file string, into any) (*source, error) {
	src := &source{file: file, lines: map[string]int{}}
	info, err := os.Stat(file)
	if err == nil && info.Size() > maxConfigBytes {
		err = fmt.Errorf("larger than %d bytes", maxConfigBytes)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		src.mistake("", "%v", err)
		return src, src.err()
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		src.mistakes = append(src.mistakes, syntaxMistake(file, err))
		return src, src.err()
	}
	if len(doc.Content) == 0 {
		src.mistake("", "the file is empty")
		return src, src.err()
	}
	d := decoder{src}
	d.value(doc.Content[0], reflect.ValueOf(into).Elem(), "", 0)
	return src, src.err()
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func syntaxMistake(file string, err error) Mistake {
	text := err.Error()
	m := Mistake{File: file}
	if found := yamlLine.FindStringSubmatch(text); found != nil {
		m.Line, _ = strconv.Atoi(found[1])
		text = text[len(found[0]):]
	}
	m.Text = "this is not YAML: " + text
	return m
}

type decoder struct{ src *source }

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (d decoder) value(n *yaml.Node, v reflect.Value, key string, depth int) {
	if _, ok := d.src.lines[key]; !ok {
		d.src.lines[key] = n.Line
	}
	if depth > maxConfigDepth {
		d.at(n, key, "nested too deeply")
		return
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.at(n, key, "anchors and aliases are not allowed: write the value out")
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		d.at(n, key, "has no value")
		return
	}
	switch {
	case reflect.PointerTo(v.Type()).Implements(textType):
		d.text(n, v, key)
	case v.Kind() == reflect.Struct:
		d.mapping(n, v, key, depth)
	case v.Kind() == reflect.Map:
		d.table(n, v, key, depth)
	case v.Kind() == reflect.Slice:
		d.list(n, v, key, depth)
	default:
		d.scalar(n, v, key)
	}
}

func (d decoder) text(n *yaml.Node, v reflect.Value, key string) {
	if n.Kind != yaml.ScalarNode {
		d.at(n, key, "must be a text")
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
		d.at(n, key, "%v", err)
	}
}

func (d decoder) mapping(n *yaml.Node, v reflect.Value, key string, depth int) {
	if n.Kind != yaml.MappingNode {
		d.at(n, key, "must be a mapping with the keys %s", strings.Join(fieldNames(v.Type()), ", "))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i], n.Content[i+1]
		name := k.Value
		path := join(key, name)
		field := fieldByName(v, name)
		switch {
		case !field.IsValid():
			d.at(k, path, "unknown key; the keys here are %s", strings.Join(fieldNames(v.Type()), ", "))
		case seen[name]:
			d.at(k, path, "stands twice")
		default:
			seen[name] = true
			d.src.lines[path] = k.Line
			d.value(val, field, path, depth+1)
		}
	}
}

func (d decoder) table(n *yaml.Node, v reflect.Value, key string, depth int) {
	if n.Kind != yaml.MappingNode {
		d.at(n, key, "must be a mapping from names to values")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i], n.Content[i+1]
		path := join(key, k.Value)
		name := reflect.ValueOf(k.Value).Convert(v.Type().Key())
		if k.Kind != yaml.ScalarNode || k.Tag != "!!str" {
			d.at(k, path, "a name must be a text; put it in quotes")
			continue
		}
		if v.MapIndex(name).IsValid() {
			d.at(k, path, "stands twice")
			continue
		}
		d.src.lines[path] = k.Line
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(val, elem, path, depth+1)
		v.SetMapIndex(name, elem)
	}
}

func (d decoder) list(n *yaml.Node, v reflect.Value, key string, depth int) {
	if n.Kind != yaml.SequenceNode {
		d.at(n, key, "must be a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		path := fmt.Sprintf("%s[%d]", key, i)
		d.src.lines[path] = item.Line
		d.value(item, v.Index(i), path, depth+1)
	}
}

// scalar decodes a text, number, truth value or duration. A text must be written as one: `yes`, `1` and
// `0x10` in its place are mistakes rather than guesses.
func (d decoder) scalar(n *yaml.Node, v reflect.Value, key string) {
	if n.Kind != yaml.ScalarNode {
		d.at(n, key, "must be a single value")
		return
	}
	switch {
	case v.Type() == durationType:
		dur, err := time.ParseDuration(n.Value)
		if err != nil {
			d.at(n, key, "must be a duration such as 30s or 15m")
			return
		}
		v.SetInt(int64(dur))
	case v.Kind() == reflect.String:
		if n.Tag != "!!str" {
			d.at(n, key, "must be a text; put it in quotes")
			return
		}
		v.SetString(n.Value)
	case v.Kind() == reflect.Bool:
		if n.Tag != "!!bool" {
			d.at(n, key, "must be true or false")
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case v.Kind() == reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if err != nil {
			d.at(n, key, "must be a whole number")
			return
		}
		v.SetInt(int64(i))
	default:
		panic("server: config has a field of type " + v.Type().String())
	}
}

func (d decoder) at(n *yaml.Node, key, format string, args ...any) {
	if len(d.src.mistakes) < maxMistakes {
		d.src.mistakes = append(d.src.mistakes, Mistake{File: d.src.file, Line: n.Line, Key: key, Text: fmt.Sprintf(format, args...)})
	}
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func fieldByName(v reflect.Value, name string) reflect.Value {
	for i := range v.NumField() {
		if tag := v.Type().Field(i).Tag.Get("yaml"); tag != "" && tag == name {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("yaml"); tag != "" {
			names = append(names, tag)
		}
	}
	return names
}
