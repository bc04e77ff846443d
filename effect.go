package countersign

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"
)

// Effects is a set of effects. The zero value is the empty set, which nothing may treat as harmless: a
// classifier that finds no effect reports Unknown.
type Effects uint16

// The closed list of effects.
const (
	Read      Effects = 1 << iota // returns stored data
	Write                         // adds or changes data
	Delete                        // removes data
	Export                        // moves data out in bulk
	Schema                        // creates or changes structure
	Destroy                       // drops structure or whole objects
	Privilege                     // changes or raises rights
	Secret                        // reads credentials, or others' data by the back door
	Execute                       // runs code whose effect cannot be seen, or touches the host
	Infra                         // changes running infrastructure
	Admin                         // controls the server itself
	Session                       // only this session's state
	Unknown                       // cannot be classified

	allEffects = Unknown<<1 - 1
)

var effectNames = [...]string{
	"read", "write", "delete", "export", "schema", "destroy", "privilege", "secret",
	"execute", "infra", "admin", "session", "unknown",
}

// Has reports whether every effect of f is in e.
func (e Effects) Has(f Effects) bool { return e&f == f }

// Any reports whether some effect of f is in e.
func (e Effects) Any(f Effects) bool { return e&f != 0 }

// Privileged reports whether e holds anything besides Read and Session. The empty set is privileged.
func (e Effects) Privileged() bool { return e == 0 || e&^(Read|Session) != 0 }

// Names returns the effects' names in the order of the list above.
func (e Effects) Names() []string {
	names := make([]string, 0, bits.OnesCount16(uint16(e)))
	for i, n := range effectNames {
		if e&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

func (e Effects) String() string { return strings.Join(e.Names(), ",") }

// ParseEffect returns the effect of that name.
func ParseEffect(name string) (Effects, error) {
	for i, n := range effectNames {
		if n == name {
			return 1 << i, nil
		}
	}
	return 0, fmt.Errorf("no effect is named %q; the effects are %s", name, strings.Join(effectNames[:], ", "))
}

// MarshalJSON writes the list of names.
func (e Effects) MarshalJSON() ([]byte, error) { return json.Marshal(e.Names()) }

// UnmarshalJSON reads a list of names.
func (e *Effects) UnmarshalJSON(data []byte) error {
	var names []string
	if err := json.Unmarshal(data, &names); err != nil {
		return err
	}
	*e = 0
	for _, n := range names {
		f, err := ParseEffect(n)
		if err != nil {
			return err
		}
		*e |= f
	}
	return nil
}
