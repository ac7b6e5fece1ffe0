package policies

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// An office has thousands of subjects, and an entry of the ledger 65,535 bytes: one
// Consent may name up to MaxSubjects of them, and as many documents as are needed say
// the rest. Each is whole by itself, so the ledger alone replays.

// SubjectKey is the head of a data subject's commitment, 128 bits: as it stands in a
// snapshot's hidden column and in lists of subjects.
type SubjectKey [16]byte

// MaxSubjects is the most that one Consent names, so that its bundle fits an entry.
const MaxSubjects = 2000

// ParseSubject reads a commitment: 64 hexadecimal digits in lower case.
func ParseSubject(s string) (SubjectKey, bool) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != 32 || hex.EncodeToString(raw) != s {
		return SubjectKey{}, false
	}
	return SubjectKey(raw[:16]), true
}

func compareSubjects(a, b SubjectKey) int { return bytes.Compare(a[:], b[:]) }

// JoinSubjects writes the field subjects: base64 of the keys in order, each once.
func JoinSubjects(keys []SubjectKey) string {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, compareSubjects)
	var raw []byte
	for _, k := range slices.Compact(keys) {
		raw = append(raw, k[:]...)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// splitSubjects is the strict inverse of JoinSubjects. Its errors repeat nothing.
func splitSubjects(s string) ([]SubjectKey, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	n := len(raw) / len(SubjectKey{})
	if err != nil || n == 0 || len(raw)%len(SubjectKey{}) != 0 || base64.StdEncoding.EncodeToString(raw) != s {
		return nil, texts.Errorf("subjects is no list of commitments; make it with sandgate consent record --subjects-csv")
	}
	if n > MaxSubjects {
		return nil, texts.Errorf("subjects names more than %d; spread them over several documents", MaxSubjects)
	}
	out := make([]SubjectKey, n)
	for i := range out {
		out[i] = SubjectKey(raw[i*len(SubjectKey{}):])
		if i > 0 && compareSubjects(out[i-1], out[i]) >= 0 {
			return nil, texts.Errorf("subjects are not in order, each once")
		}
	}
	return out, nil
}

// subjectKeys reads whose consent a document records.
func (c Consent) subjectKeys() ([]SubjectKey, error) {
	switch {
	case (c.Subject == "") == (c.Subjects == ""):
		return nil, texts.Errorf("exactly one of subject and subjects says whose consent it is")
	case c.Subjects != "":
		return splitSubjects(c.Subjects)
	}
	key, ok := ParseSubject(c.Subject)
	if !ok {
		// The text is not repeated: somebody may have put the number itself there.
		return nil, texts.Errorf("subject is not a commitment; compute it with sandgate consent subject")
	}
	return []SubjectKey{key}, nil
}

// SubjectEnd is when one subject of a list took his consent back.
type SubjectEnd struct {
	Subject SubjectKey
	At      time.Time
}

// covers says whether the record is in force, as a whole, for a use at an instant.
func (r ConsentRecord) covers(u ConsentUse, at time.Time) bool {
	c := r.Consent
	return (c.Licence != "" && c.Licence == u.Licence || c.Operator != "" && c.Operator == u.Operator) &&
		slices.Contains(c.Purposes, u.Purpose) && slices.Contains(c.Datasets, u.Dataset) &&
		!at.Before(c.NotBefore) && at.Before(c.NotAfter) && (r.Withdrawn.IsZero() || at.Before(r.Withdrawn))
}

// holds says whether the record holds a subject at an instant who did not end it.
func (r ConsentRecord) holds(key SubjectKey, at time.Time) bool {
	return among(r.keys, key) && !r.left(key, at)
}

// among says whether sorted keys hold one, in as many steps whether they do or not. An
// audit asks it more often than anything else.
func among(keys []SubjectKey, key SubjectKey) bool {
	high, low := binary.BigEndian.Uint64(key[:8]), binary.BigEndian.Uint64(key[8:])
	from := 0 // the last that is not behind key stands at from or after it
	for n := len(keys); n > 1; {
		half := n / 2
		k := &keys[from+half]
		h := binary.BigEndian.Uint64(k[:8])
		if h < high || h == high && binary.BigEndian.Uint64(k[8:]) <= low {
			from += half
		}
		n -= half
	}
	return len(keys) > 0 && keys[from] == key
}

func (r ConsentRecord) left(key SubjectKey, at time.Time) bool {
	i, ok := slices.BinarySearchFunc(r.Ended, key, func(e SubjectEnd, k SubjectKey) int { return compareSubjects(e.Subject, k) })
	return ok && !at.Before(r.Ended[i].At)
}

// Count is the number of subjects whose consent the record holds at an instant.
func (r ConsentRecord) Count(at time.Time) int {
	n := len(r.keys)
	for _, e := range r.Ended {
		if !at.Before(e.At) {
			n--
		}
	}
	return n
}

// without ends one subject's consent; false when it does not stand.
func (r ConsentRecord) without(key SubjectKey, at time.Time) (ConsentRecord, bool) {
	if !r.Withdrawn.IsZero() || !r.holds(key, at) {
		return r, false
	}
	i, ok := slices.BinarySearchFunc(r.Ended, key, func(e SubjectEnd, k SubjectKey) int { return compareSubjects(e.Subject, k) })
	if ok { // ended after this instant, which a ledger's clock rules out
		return r, false
	}
	r.Ended = slices.Insert(slices.Clone(r.Ended), i, SubjectEnd{key, at})
	return r, true
}

// ConsentUse is a use that needs consents, and those that were in force for it when
// it was asked about. It does not change when the book does. The zero value asks for
// none.
type ConsentUse struct {
	Dataset, Licence, Operator, Purpose string

	at      time.Time
	records []ConsentRecord // in the order of their ids
}

// ConsentsFor gathers the consents in force at an instant for the use of a data set
// under a licence for a purpose. A licence that is not in force, or is held, has none.
func (b *Book) ConsentsFor(dataset, licence, purpose string, at time.Time) ConsentUse {
	u, ok := b.consentUse(dataset, licence, purpose, at)
	if !ok {
		return u
	}
	for _, r := range b.consents {
		if r.covers(u, at) && r.Count(at) > 0 {
			u.records = append(u.records, r)
		}
	}
	slices.SortFunc(u.records, func(x, y ConsentRecord) int { return strings.Compare(x.Consent.ID, y.Consent.ID) })
	return u
}

// consentUse is a use without its consents; false when the licence has none.
func (b *Book) consentUse(dataset, licence, purpose string, at time.Time) (ConsentUse, bool) {
	l, ok := b.licences[licence]
	u := ConsentUse{Dataset: dataset, Licence: licence, Operator: l.Operator, Purpose: purpose, at: at}
	return u, ok && b.InForce(licence, at) == nil && b.Suspended(Target{TargetLicence, licence}) == nil && slices.Contains(l.Purposes, purpose)
}

// Subjects lists who consented, in order, each once; never nil.
func (u ConsentUse) Subjects() []SubjectKey {
	out := []SubjectKey{}
	for _, r := range u.records {
		for _, k := range r.keys {
			if !r.left(k, u.at) {
				out = append(out, k)
			}
		}
	}
	slices.SortFunc(out, compareSubjects)
	return slices.Compact(out)
}

// Upheld says whether every consent that u gathered still is in force: none ended, was
// withdrawn or left by one of its subjects since. What was recorded since does no harm.
func (b *Book) Upheld(u ConsentUse, at time.Time) bool {
	for _, was := range u.records {
		r, ok := b.consents[was.Consent.ID]
		if !ok || !r.covers(u, at) || r.Count(at) != was.Count(u.at) {
			return false
		}
	}
	return true
}

// ConsentEnded is why a job that used consents is stopped when one of them ended. It
// tells that one did, and neither which nor of how many.
func (b *Book) ConsentEnded(dataset string) *Reason {
	return reasonf("CONSENT_ENDED", "catalogue/"+dataset, b.datasets[dataset].Department,
		"作业运行期间，数据集“%s”有数据主体的同意终止", "while the job ran, a data subject's consent to the use of data set %q ended", dataset).
		hint("重新提交的作业按其时有效的同意执行", "submitted anew, the job runs over the consents then in force")
}
