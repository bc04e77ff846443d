package sql

import (
	_ "embed"
	"strings"

	"github.com/countersign-dev/countersign"
)

// The lists of what a server has built in, marked by hand. A mistake in them stops the program at
// start, and the tests before that.
var (
	//go:embed vetted/functions.txt
	functionsText string
	//go:embed vetted/operators.txt
	operatorsText string
	//go:embed vetted/types.txt
	typesText string
	//go:embed vetted/relations.txt
	relationsText string
	//go:embed vetted/settings.txt
	settingsText string

	vettedFunctions = loadMarks("functions", functionsText)
	vettedOperators = loadMarks("operators", operatorsText)
	vettedTypes     = loadMarks("types", typesText)
	vettedRelations = loadMarks("relations", relationsText)
	harmless        = loadSettings(settingsText)
)

// mark is one line of a list.
type mark struct {
	effects   countersign.Effects
	set       bool // returns a set of rows
	bySetting bool // as the setting that its first argument names
}

// loadMarks reads a list; a name with "-" or "?" is left out, and so is not vetted. Names of
// pg_catalog's functions, operators and types stand alone, others with their schema.
func loadMarks(list, text string) map[string]mark {
	marks := map[string]mark{}
	for _, line := range listLines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || len(fields) > 3 || len(fields) == 3 && fields[2] != "set" {
			panic("classify/sql: vetted " + list + ": malformed line: " + line)
		}
		if _, twice := marks[fields[0]]; twice {
			panic("classify/sql: vetted " + list + ": listed twice: " + fields[0])
		}
		m := mark{set: len(fields) == 3}
		switch fields[1] {
		case "-", "?":
			continue
		case "by-setting":
			m.bySetting = true
		default:
			for _, name := range strings.Split(fields[1], ",") {
				e, err := countersign.ParseEffect(name)
				if err != nil {
					panic("classify/sql: vetted " + list + ": " + err.Error())
				}
				m.effects |= e
			}
		}
		marks[fields[0]] = m
	}
	return marks
}

// loadSettings reads the list of harmless settings: name → allowed values, nil for any.
func loadSettings(text string) map[string][]string {
	settings := map[string][]string{}
	for _, line := range listLines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			panic("classify/sql: vetted settings: malformed line: " + line)
		}
		var values []string
		if fields[1] != "any" {
			for _, v := range fields[1:] {
				values = append(values, strings.Trim(v, `"`))
			}
		}
		settings[fields[0]] = values
	}
	return settings
}

// listLines returns the lines after the comment that a list begins with ("#" is an operator too).
func listLines(text string) []string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for len(lines) > 0 && (lines[0] == "#" || strings.HasPrefix(lines[0], "# ")) {
		lines = lines[1:]
	}
	return lines
}
