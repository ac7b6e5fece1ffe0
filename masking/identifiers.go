// Package masking knows the identifiers that stand in Chinese public data and
// the mask operators a department may put on a column. Masks are applied once,
// at ingest, to single values; the snapshot never holds the raw ones.
//
// A mask is a storage and display control, not de-identification in the sense
// of GB/T 37964-2019: what leaves the domain is decided by disclosure rules.
// Each operator states what it keeps and what it does not protect.
//
// The package is pure: values in, values out, no clock, no file. Every function
// and every Operator may be used by several goroutines at once.
package masking

import "strings"

// Validity is the result of checking an identifier. Live registers hold codes
// whose check character is wrong, so a failed check is told apart from a value
// that is no such identifier at all. The zero value is the pessimistic one.
type Validity uint8

const (
	Malformed   Validity = iota // length, alphabet or date is wrong
	CheckFailed                 // right shape, wrong check character
	OK                          // right shape and check character
)

// String returns malformed, check_failed or ok.
func (v Validity) String() string {
	switch v {
	case OK:
		return "ok"
	case CheckFailed:
		return "check_failed"
	default:
		return "malformed"
	}
}

// citizenWeights are 2^(17-i) mod 11 (GB 11643-1999, ISO 7064 MOD 11-2).
var citizenWeights = [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}

const citizenChecks = "10X98765432"

// CitizenIDCheck computes the check character (0…9 or X) of the first 17 digits
// of a 公民身份号码. It returns 0 when first17 is not 17 ASCII digits.
func CitizenIDCheck(first17 string) byte {
	if len(first17) != 17 || !digits(first17) {
		return 0
	}
	sum := 0
	for i := range citizenWeights {
		sum += int(first17[i]-'0') * citizenWeights[i]
	}
	return citizenChecks[sum%11]
}

// CitizenID checks an 18-character 公民身份号码 (GB 11643-1999). The canonical
// form only: a lower-case x or the 15-digit form is Malformed until
// NormaliseCitizenID has rewritten it.
//
// Checked: region of six digits whose first is not 0, a calendar date of
// 1800…2199, check character. Not checked: whether the region was ever assigned
// (GB/T 2260 is versioned data) and whether the date lies in the future.
func CitizenID(s string) Validity {
	if len(s) != 18 || !digits(s[:17]) || s[0] == '0' {
		return Malformed
	}
	if c := s[17]; (c < '0' || c > '9') && c != 'X' {
		return Malformed
	}
	y, m, d := number(s[6:10]), number(s[10:12]), number(s[12:14])
	if y < 1800 || y > 2199 || !calendar(y, m, d) {
		return Malformed
	}
	if CitizenIDCheck(s[:17]) != s[17] {
		return CheckFailed
	}
	return OK
}

// NormaliseCitizenID rewrites the two legacy spellings to the canonical one: a
// final x becomes X, and the 15-digit form of GB 11643-1989 gets its century
// (19) and check character. It reports false when s is neither form. Serial
// numbers 996…999 of the 15-digit form were kept for people born before 1900,
// so their century is unknown and they are refused. The result is not yet
// validated: pass it to CitizenID.
func NormaliseCitizenID(s string) (string, bool) {
	switch {
	case len(s) == 18 && digits(s[:17]) && (s[17] == 'x' || s[17] == 'X'):
		return s[:17] + "X", true
	case len(s) == 18 && digits(s):
		return s, true
	case len(s) == 15 && digits(s):
		if s[12:] >= "996" {
			return "", false
		}
		first17 := s[:6] + "19" + s[6:]
		return first17 + string(CitizenIDCheck(first17)), true
	default:
		return "", false
	}
}

// creditAlphabet of GB 32100-2015: digits and capitals without I, O, S, V, Z.
const creditAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// creditWeights are 3^(i-1) mod 31.
var creditWeights = [17]int{1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28}

// CreditCodeCheck computes the check character of the first 17 characters of a
// 统一社会信用代码. It returns 0 when first17 is not 17 characters of the
// alphabet of GB 32100-2015.
func CreditCodeCheck(first17 string) byte {
	if len(first17) != 17 {
		return 0
	}
	sum := 0
	for i := range creditWeights {
		v := strings.IndexByte(creditAlphabet, first17[i])
		if v < 0 {
			return 0
		}
		sum += v * creditWeights[i]
	}
	return creditAlphabet[(31-sum%31)%31]
}

// CreditCode checks an 18-character 统一社会信用代码 (GB 32100-2015), capitals
// only. Checked: alphabet, six region digits, check character. Not checked: the
// registering department and class in the first two characters, and the inner
// check of the organisation code (GB 11714).
func CreditCode(s string) Validity {
	if len(s) != 18 || !digits(s[2:8]) {
		return Malformed
	}
	want := CreditCodeCheck(s[:17])
	if want == 0 || strings.IndexByte(creditAlphabet, s[17]) < 0 {
		return Malformed
	}
	if want != s[17] {
		return CheckFailed
	}
	return OK
}

// Phone checks a mainland mobile number: 11 digits, 13…19 first. It has no check
// digit, so the result is OK or Malformed. Fixed lines and the 13-digit numbers
// of things are Malformed; so is a country prefix, see NormalisePhone.
func Phone(s string) Validity {
	if len(s) != 11 || !digits(s) || s[0] != '1' || s[1] < '3' {
		return Malformed
	}
	return OK
}

// NormalisePhone removes the prefix +86. It reports false when what is left is
// not a mainland mobile number.
func NormalisePhone(s string) (string, bool) {
	s = strings.TrimPrefix(s, "+86")
	return s, Phone(s) == OK
}

// BankCard checks a card number of 13…19 digits (ISO/IEC 7812) by Luhn's
// algorithm. One digit string in ten passes by chance, so OK is evidence and no
// proof that a column holds card numbers.
func BankCard(s string) Validity {
	if len(s) < 13 || len(s) > 19 || !digits(s) {
		return Malformed
	}
	sum := 0
	for i := range len(s) {
		d := int(s[len(s)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	if sum%10 != 0 {
		return CheckFailed
	}
	return OK
}

// digits reports whether s consists of ASCII digits and is not empty.
func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// number reads at most nine ASCII digits, which the caller has checked.
func number(s string) int {
	n := 0
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	return n
}

var monthDays = [13]int{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// calendar reports whether the proleptic Gregorian date exists.
func calendar(y, m, d int) bool {
	if m < 1 || m > 12 || d < 1 {
		return false
	}
	last := monthDays[m]
	if m == 2 && (y%4 == 0 && y%100 != 0 || y%400 == 0) {
		last = 29
	}
	return d <= last
}

// isoDate reports whether s is a calendar date spelled 2006-01-02.
func isoDate(s string) bool {
	return len(s) == 10 && s[4] == '-' && s[7] == '-' &&
		digits(s[:4]) && digits(s[5:7]) && digits(s[8:]) &&
		calendar(number(s[:4]), number(s[5:7]), number(s[8:]))
}
