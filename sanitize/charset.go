package sanitize

// charset is a set of bytes.
type charset [256]bool

// chars makes a charset of a list in which "a-z" is a range; a "-" at the end stands for itself.
func chars(list string) charset {
	var c charset
	for i := 0; i < len(list); i++ {
		if i+2 < len(list) && list[i+1] == '-' {
			for b := int(list[i]); b <= int(list[i+2]); b++ {
				c[b] = true
			}
			i += 2
			continue
		}
		c[list[i]] = true
	}
	return c
}

var (
	digits    = chars("0-9")
	letters   = chars("A-Za-z")
	upperNum  = chars("A-Z0-9")
	alnum     = chars("A-Za-z0-9")
	word      = chars("A-Za-z0-9_")
	lowerHex  = chars("0-9a-f")
	anyHex    = chars("0-9a-fA-F")
	dashed    = chars("A-Za-z0-9_-") // also the alphabet of base64url
	dotted    = chars("A-Za-z0-9_.-")
	base64Std = chars("A-Za-z0-9+/")
	space     = chars(" \t\r\n\v\f")
)

// run returns the end of the longest run of c's bytes in t from i, looking at most at limit bytes.
func run(t string, i, limit int, c *charset) int {
	end := min(len(t), i+limit)
	for i < end && c[t[i]] {
		i++
	}
	return i
}

// runBack returns the start of the longest run of c's bytes in t that ends at i, of at most limit bytes.
func runBack(t string, i, limit int, c *charset) int {
	end := max(0, i-limit)
	for i > end && c[t[i-1]] {
		i--
	}
	return i
}

func allIn(t string, c *charset) bool { return run(t, 0, len(t), c) == len(t) }

// wordBefore and wordAt report whether a word goes on before or at i, so that nothing starts or ends there.
func wordBefore(t string, i int) bool { return i > 0 && word[t[i-1]] }
func wordAt(t string, i int) bool     { return i < len(t) && word[t[i]] }

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// mixed reports whether t has both a letter and a digit.
func mixed(t string) bool {
	var letter, digit bool
	for i := 0; i < len(t); i++ {
		letter = letter || letters[t[i]]
		digit = digit || digits[t[i]]
	}
	return letter && digit
}
