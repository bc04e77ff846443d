// Package sanitize turns raw text into Clean text: text from which secrets, credentials and personal
// data have been replaced, and which alone may be stored, logged, shown or sent.
//
// It promises (P7) that no value standing in a credential position that it knows, and no value that its
// detectors know, is in a Clean: not in clear, not percent-encoded, not with JSON's or SQL's escapes, not
// in base64 or hexadecimal, up to three of them inside one another. Structure comes first: a value under a
// secret's name, in a URL's userinfo, an Authorization or Cookie header, an option of a command, or a
// credential position of a statement goes whatever it looks like. Then detectors find values by the form
// that their issuers document, each with a proof where the form has one: a checksum, an alphabet and a
// length, a structure that decodes.
//
// It promises that what a text is made of survives. JSON stays JSON; a statement that PostgreSQL parses
// parses after, and only literals, comments and values that stand as names have changed, so that code is never
// hidden; a URL stays one. Sanitizing a result again changes nothing. The time is linear in the length of
// the text, and what is beyond a limit (MaxText, MaxLine) is replaced, never passed on. A Clean is valid
// UTF-8; it may hold control characters.
//
// It does not promise to find
//   - what looks like nothing in particular: a password in prose, a person's name, a street;
//   - a secret cut in two ('ghp_' || '…' in a statement), compressed, encrypted, inside binary data, or in an
//     encoding other than those above;
//   - a password in a statement that stands under its column's name only by way of a subquery, a join, a
//     function's position (set_password('bob', '…')) or a name put together by more than || (format, concat);
//   - a PIN written as a number, or what a name outside of the list in key.go names;
//   - a secret that another word directly precedes (xghp_…);
//   - PEM keys aside, what spans the lines that Lines reads.
//
// Nor does it promise that every number it takes for a card's is one: of all numbers of sixteen digits 3.6
// in a hundred pass the checks (of other lengths fewer than one in two hundred).
//
// Pseudonyms tell that two values are equal, to everybody who sees them; and whoever can have texts
// sanitized under the same key can test guesses. See Kind.LowEntropy.
package sanitize
