package sanitize

import "strings"

// maxJSONDepth is how deep JSON may nest; deeper is read as plain text.
const maxJSONDepth = 512

// What a jsonReader expects next.
const (
	wantValue = iota
	wantValueOrEnd
	wantKey
	wantKeyOrEnd
	wantColon
	wantComma
)

// jsonLevel is one object or array that is open.
type jsonLevel struct {
	object bool
	key    position // what the current key says, or in an array, what the array's key says
	name   string   // the current key
	named  position // what the value of "name" or "key" says about that of "value"
	// kube marks a Kubernetes Secret, every value under whose data is one; held is where the values
	// that were put aside for it begin.
	kube bool
	data bool
	held int
	// flag means that the element before is an option of a command whose value comes: ["--password", "x"].
	flag bool
}

// jsonReader reads one JSON object or array and records what is to be replaced, string by string, so
// that no finding reaches over a string's end.
type jsonReader struct {
	*scanner
	pos   int
	want  int
	stack []jsonLevel
	held  []Span
}

// json reads the JSON object or array at c.i and moves past it. It reports false when there is none.
func (c *scanner) json() bool {
	if !jsonStart(c.t, c.i) || c.jsonSpent > len(c.t)+4096 {
		return false
	}
	j := jsonReader{scanner: c, pos: c.i, stack: make([]jsonLevel, 0, 4)}
	mark, start := len(c.out), c.i
	ok := j.read()
	if !ok {
		c.out = c.out[:mark]
		c.jsonSpent += j.pos - start
		c.i = start
		return false
	}
	c.i = j.pos
	return true
}

func jsonStart(t string, i int) bool {
	next := run(t, i+1, len(t), &space)
	if next >= len(t) {
		return false
	}
	switch t[next] {
	case '"':
		return true
	case '}':
		return t[i] == '{'
	case '{', '[', ']', '-':
		return t[i] == '['
	default:
		return t[i] == '[' && digits[t[next]]
	}
}

func (j *jsonReader) read() bool {
	for {
		j.pos = run(j.t, j.pos, len(j.t), &space)
		if j.pos >= len(j.t) {
			return false
		}
		var ok bool
		switch j.want {
		case wantValue, wantValueOrEnd:
			ok = j.readValue()
		case wantKey, wantKeyOrEnd:
			ok = j.readKey()
		case wantColon:
			ok = j.t[j.pos] == ':'
			j.pos++
			j.want = wantValue
		case wantComma:
			ok = j.readComma()
		}
		if !ok {
			return false
		}
		if len(j.stack) == 0 {
			return true
		}
	}
}

func (j *jsonReader) top() *jsonLevel { return &j.stack[len(j.stack)-1] }

func (j *jsonReader) push(object bool) bool {
	level := jsonLevel{object: object, held: len(j.held)}
	if len(j.stack) > 0 {
		top := j.top()
		level.key = position{}
		if !object {
			level.key = top.key
		}
		level.data = object && top.object && (top.name == "data" || top.name == "stringData")
	}
	if len(j.stack) >= maxJSONDepth {
		return false
	}
	j.stack = append(j.stack, level)
	j.pos++
	j.want = wantValueOrEnd
	if object {
		j.want = wantKeyOrEnd
	}
	return true
}

func (j *jsonReader) pop() {
	top := j.top()
	if top.kube {
		for _, h := range j.held[top.held:] {
			j.secret(h.Start, h.End, position{kind: Secret})
		}
	}
	if !top.data || top.kube {
		j.held = j.held[:top.held]
	}
	j.stack = j.stack[:len(j.stack)-1]
	j.pos++
	j.want = wantComma
}

func (j *jsonReader) readComma() bool {
	switch b := j.t[j.pos]; {
	case b == ',':
		j.pos++
		j.want = wantValue
		if j.top().object {
			j.want = wantKey
		}
		return true
	case b == '}' && j.top().object, b == ']' && !j.top().object:
		j.pop()
		return true
	default:
		return false
	}
}

func (j *jsonReader) readKey() bool {
	if j.t[j.pos] == '}' && j.want == wantKeyOrEnd {
		j.pop()
		return true
	}
	a, b, ok := j.readString()
	if !ok {
		return false
	}
	name := j.t[a:b]
	if strings.IndexByte(name, '\\') >= 0 {
		v := unescape(name)
		name = v.text
	}
	top := j.top()
	top.name, top.key = name, classify(name)
	if top.key.none() && top.named.kind != "" && strings.EqualFold(name, "value") {
		top.key = top.named
	}
	if len(name) >= 9 && strings.ContainsAny(name, "@0123456789") {
		j.text(a, b, noKeys)
	}
	j.want = wantColon
	return true
}

// readString returns the content of the string at j.pos and moves past it.
func (j *jsonReader) readString() (a, b int, ok bool) {
	t := j.t
	if t[j.pos] != '"' {
		return 0, 0, false
	}
	a = j.pos + 1
	for b = a; ; b++ {
		quote := strings.IndexByte(t[b:], '"')
		if quote < 0 {
			j.pos = len(t)
			return 0, 0, false
		}
		b += quote
		if (b-runBack(t, b, b-a, &backslash))%2 == 0 {
			break
		}
	}
	j.pos = b + 1
	return a, b, strings.IndexByte(t[a:b], '\n') < 0
}

func (j *jsonReader) readValue() bool {
	switch b := j.t[j.pos]; {
	case b == '{':
		return j.push(true)
	case b == '[':
		return j.push(false)
	case b == ']' && j.want == wantValueOrEnd:
		j.pop()
		return true
	case b == '"':
		a, end, ok := j.readString()
		if ok {
			j.stringValue(a, end)
			j.want = wantComma
		}
		return ok
	default:
		return j.scalar()
	}
}

func (j *jsonReader) stringValue(a, b int) {
	top, v := j.top(), j.t[a:b]
	if top.object {
		switch top.name {
		case "name", "Name", "key", "Key":
			top.named = classify(v)
			top.named.weak = false
		case "kind":
			top.kube = top.kube || v == "Secret"
		}
	}
	if top.data {
		j.held = append(j.held, Span{Start: a, End: b})
	}
	if !top.object && top.key.none() && len(v) > 2 && v[0] == '-' && allIn(v, &flagName) {
		top.key = classify(strings.TrimLeft(v, "-"))
		top.flag = !top.key.none()
		return
	}
	switch {
	case !top.object && top.flag:
		top.flag = false
		j.quoted(a, b, top.key)
		top.key = position{}
	case !top.key.none():
		if !top.key.weak || !digitsOnly(v) {
			j.quoted(a, b, top.key)
		}
	case !j.personalValue(a, b, formPlain):
		j.text(a, b, 0)
	}
}

// quoted records a string under a secret's name.
func (j *jsonReader) quoted(a, b int, p position) {
	before := len(j.out)
	j.credential(a, b, p)
	if len(j.out) > before && strings.IndexByte(j.t[a:b], '\\') >= 0 {
		f := &j.out[len(j.out)-1]
		v := unescape(j.t[f.Start-j.base : f.End-j.base])
		f.value = v.text
	}
}

// personalValue records a value under a name of personal data.
func (j *jsonReader) personalValue(a, b int, f form) bool {
	if !j.top().object {
		return false
	}
	kind, ok := classifyPersonal(j.top().name)
	if !ok || b-a > maxPersonal || !isPersonal(kind, j.t[a:b]) || !allIn(j.t[a:b], &personalChars) {
		return false
	}
	j.found(a, b, kind, canonical(kind, j.t[a:b]))
	j.out[len(j.out)-1].form = f
	return true
}

// minText is the length of the shortest text that holds a finding.
const minText = 4

// text looks inside a string.
func (j *jsonReader) text(a, b int, m mode) {
	if b-a < minText {
		return
	}
	t := j.t[a:b]
	if strings.IndexByte(t, '\\') >= 0 && j.views > 0 {
		v := unescape(t)
		old := j.mode
		j.mode |= m
		j.inView(&v, a)
		j.mode = old
		return
	}
	// The string is scanned by the same scanner, whose state is put back after.
	outer := *j.scanner
	*j.scanner = scanner{t: t, base: outer.base + a, mode: outer.mode | m, views: outer.views, out: outer.out, at: -1, userinfo: -1}
	j.run()
	outer.out = j.out
	*j.scanner = outer
}

var scalarEnd = chars(",]} \t\r\n")

// scalar reads a number or a word.
func (j *jsonReader) scalar() bool {
	t, a := j.t, j.pos
	b := a
	for b < len(t) && !scalarEnd[t[b]] {
		b++
	}
	j.pos, j.want = b, wantComma
	v := t[a:b]
	switch {
	case v == "true", v == "false", v == "null":
		return true
	case !isJSONNumber(v):
		return false
	}
	if p := j.top().key; !p.none() && !p.weak {
		j.numberFound(a, b, p.kind)
	} else if b-a >= minCard && !j.personalValue(a, b, formJSON) && allIn(v, &digits) {
		if found := scan(v, j.mode, j.views); len(found) > 0 {
			j.numberFound(a, b, found[0].Kind)
		}
	}
	return true
}

// isJSONNumber reports whether v is a number as RFC 8259 has it.
func isJSONNumber(v string) bool {
	i := 0
	if strings.HasPrefix(v, "-") {
		i++
	}
	end := run(v, i, len(v), &digits)
	if end == i || v[i] == '0' && end > i+1 {
		return false
	}
	if end < len(v) && v[end] == '.' {
		i, end = end+1, run(v, end+1, len(v), &digits)
		if end == i {
			return false
		}
	}
	if end < len(v) && lower(v[end]) == 'e' {
		i = end + 1
		if i < len(v) && (v[i] == '+' || v[i] == '-') {
			i++
		}
		end = run(v, i, len(v), &digits)
		if end == i {
			return false
		}
	}
	return end == len(v)
}

// numberFound records a number, which becomes a string.
func (j *jsonReader) numberFound(a, b int, kind Kind) {
	j.found(a, b, kind, "")
	j.out[len(j.out)-1].form = formJSON
}
