package masking

import (
	"strings"
	"unicode/utf8"
)

// ThingPhone checks the 13-digit number of a connected thing 物联网号码: it starts
// with 1064 or 14. It has no check digit, so the result is OK or Malformed, and
// whether the segment was ever assigned is not checked.
func ThingPhone(s string) Validity {
	if len(s) != 13 || !digits(s) || !strings.HasPrefix(s, "1064") && !strings.HasPrefix(s, "14") {
		return Malformed
	}
	return OK
}

// LegacyCitizenID checks the 15-digit form of GB 11643-1989: six digits of region
// whose first is not 0, a date of 1900…1999 in six digits, three of serial. It has
// no check character, so the result is OK or Malformed. Serial numbers 996…999
// belong to people born before 1900, whose date cannot be told: they are OK here
// and refused by NormaliseCitizenID.
func LegacyCitizenID(s string) Validity {
	if len(s) != 15 || !digits(s) || s[0] == '0' {
		return Malformed
	}
	century := 1900
	if s[12:] >= "996" {
		century = 1800
	}
	if !calendar(century+number(s[6:8]), number(s[8:10]), number(s[10:12])) {
		return Malformed
	}
	return OK
}

// Email checks the plain ASCII form of an address (RFC 5321): a dot-atom of at
// most 64 bytes, @, a domain of two or more labels whose last is not a number, at
// most 254 bytes in all. Quoted local parts, address literals and addresses beyond
// ASCII are Malformed. Whether the mailbox exists is not checked.
func Email(s string) Validity {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || len(s) > 254 || local == "" || len(local) > 64 {
		return Malformed
	}
	for part := range strings.SplitSeq(local, ".") {
		if part == "" || strings.Trim(part, emailAtom) != "" {
			return Malformed
		}
	}
	labels := strings.Split(domain, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, emailLabel) != "" {
			return Malformed
		}
	}
	if len(labels) < 2 || digits(labels[len(labels)-1]) {
		return Malformed
	}
	return OK
}

const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	emailAtom    = alphanumeric + "!#$%&'*+-/=?^_`{|}~"
	emailLabel   = alphanumeric + "-"
)

// emailDomain keeps the domain of a well-formed address, in lower case.
func emailDomain(v string) (string, bool) {
	if Email(v) != OK {
		return "", true
	}
	_, domain, _ := strings.Cut(v, "@")
	return strings.ToLower(domain), false
}

// PlateKind of a licence plate.
type PlateKind string

// Kinds of plates. A special plate ends in the character of its use: 挂 trailer,
// 学 learner, 警 police, 港 and 澳 cross-border.
const (
	PlateOrdinary  PlateKind = "ordinary"
	PlateNewEnergy PlateKind = "new_energy"
	PlateSpecial   PlateKind = "special"
)

const (
	plateProvinces = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
	plateLetters   = "ABCDEFGHJKLMNPQRSTUVWXYZ" // no I and no O
	plateSerial    = plateLetters + "0123456789"
	plateEnergy    = "ABCDEFGHJK"
	plateUses      = "挂学警港澳"
	plateArea      = plateLetters + "O" // O once stood for police and government
)

// Plate checks a mainland licence plate without separators: province, issuing
// letter, then five characters (ordinary), six of which the first or the last is a
// new-energy letter and the others digits but for one letter (new energy), or four
// and a use (special). It has no check character, so the result is OK or Malformed.
// Military and embassy plates are Malformed.
func Plate(s string) (PlateKind, Validity) {
	r := []rune(s)
	if len(r) < 7 || len(r) > 8 || !strings.ContainsRune(plateProvinces, r[0]) || !strings.ContainsRune(plateArea, r[1]) {
		return "", Malformed
	}
	rest := r[2:]
	of := func(set string, chars []rune) bool {
		for _, c := range chars {
			if !strings.ContainsRune(set, c) {
				return false
			}
		}
		return true
	}
	switch {
	case len(rest) == 5 && of(plateSerial, rest):
		return PlateOrdinary, OK
	case len(rest) == 5 && of(plateSerial, rest[:4]) && strings.ContainsRune(plateUses, rest[4]):
		return PlateSpecial, OK
	case len(rest) == 6 && of(plateEnergy, rest[:1]) && of(plateSerial, rest[1:2]) && of("0123456789", rest[2:]),
		len(rest) == 6 && of("0123456789", rest[:5]) && of(plateEnergy, rest[5:]):
		return PlateNewEnergy, OK
	}
	return "", Malformed
}

// platePrefix keeps province and issuing letter of a well-formed plate.
func platePrefix(v string) (string, bool) {
	if _, ok := Plate(v); ok != OK {
		return "", true
	}
	_, province := utf8.DecodeRuneInString(v)
	return v[:province+1], false
}
