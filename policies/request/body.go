package request

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// SaltBytes is the length of a salt. It is random and of one request alone: with
// it a reader of the ledger could test guesses at the text.
const SaltBytes = 32

// bodyLabel keeps a commitment to a body from being one to anything else.
const bodyLabel = "sandgate/request-body/v1\n"

// Field is one part of a body, in order. A name may stand more than once.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Commit is the commitment to a body: SHA-256 of the label, the salt and the
// fields, each text preceded by its length in bytes and the list by their number,
// as 64-bit big-endian numbers.
func Commit(salt []byte, body []Field) string {
	h := sha256.New()
	h.Write([]byte(bodyLabel))
	put := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	put(salt)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(body))))
	for _, f := range body {
		put([]byte(f.Name))
		put([]byte(f.Value))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// CheckBody says whether salt and body are those that the statement commits to.
func (s *Statement) CheckBody(salt []byte, body []Field) error {
	if len(salt) != SaltBytes {
		return malformed("salt 须为 32 字节", "the salt has 32 bytes")
	}
	if subtle.ConstantTimeCompare([]byte(Commit(salt, body)), []byte(s.Body)) != 1 {
		return Mismatch("body")
	}
	return nil
}

// Target asks for an error instead of a price.
type Target struct {
	Column    string
	HalfWidth string
	Values    int64
}

// Query is the body of a job: its text, empty for a product's, the values of its
// placeholders and the errors asked for.
type Query struct {
	SQL        string
	Parameters []string
	Targets    []Target
}

// Fields lists the body: sql, every parameter, and of every target its column,
// half_width and values.
func (q Query) Fields() []Field {
	out := []Field{{"sql", q.SQL}}
	for _, p := range q.Parameters {
		out = append(out, Field{"parameter", p})
	}
	for _, t := range q.Targets {
		out = append(out, Field{"column", t.Column}, Field{"half_width", t.HalfWidth}, Field{"values", strconv.FormatInt(t.Values, 10)})
	}
	return out
}

// VerificationFields is the body of a verification: whom it is about and what is
// claimed of him.
func VerificationFields(subject, claim string) []Field {
	return []Field{{"subject_id", subject}, {"claim", claim}}
}

// RiskFields is the body of an assessment, which the ledger shows: it is committed
// to without a salt.
func RiskFields(quasi, sensitive []string, model, context string) []Field {
	var out []Field
	for _, c := range quasi {
		out = append(out, Field{"quasi", c})
	}
	for _, c := range sensitive {
		out = append(out, Field{"sensitive", c})
	}
	return append(out, Field{"model", model}, Field{"context_risk", context})
}

// FileFields is the body of an ingest: the SHA-256 of the file's bytes, hex, and
// how it is to be read.
func FileFields(sha256, format string, allowEmpty bool) []Field {
	return []Field{{"sha256", sha256}, {"format", format}, {"allow_empty", strconv.FormatBool(allowEmpty)}}
}

// QueryOf is the inverse of Fields.
func QueryOf(body []Field) (Query, error) {
	var q Query
	for i, f := range body {
		last := len(q.Targets) - 1
		switch {
		case f.Name == "sql" && i == 0:
			q.SQL = f.Value
		case f.Name == "parameter" && last < 0:
			q.Parameters = append(q.Parameters, f.Value)
		case f.Name == "column":
			q.Targets = append(q.Targets, Target{Column: f.Value})
		case f.Name == "half_width" && last >= 0:
			q.Targets[last].HalfWidth = f.Value
		case f.Name == "values" && last >= 0:
			n, err := strconv.ParseInt(f.Value, 10, 64)
			if err != nil {
				return Query{}, errors.New("the body is not that of a job")
			}
			q.Targets[last].Values = n
		default:
			return Query{}, errors.New("the body is not that of a job")
		}
	}
	return q, nil
}

// Opening is what a party keeps of a request it signed: with it, and nothing
// else, what was asked can be shown to be what the ledger's entry commits to. It
// holds the text with its literals and is kept as carefully as that.
type Opening struct {
	V      int     `json:"v"`
	Signed Signed  `json:"signed"`
	Salt   []byte  `json:"salt"`
	Body   []Field `json:"body"`
}

// Encode is the opening as JSON.
func (o *Opening) Encode() ([]byte, error) {
	out, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("failed to encode opening: %w", err)
	}
	return append(out, '\n'), nil
}

// ParseOpening reads an opening and checks that it opens its own statement.
func ParseOpening(text []byte) (*Opening, error) {
	var o Opening
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, errors.New("not the record of a signed request")
	}
	if o.V != Version {
		return nil, errors.New("the record of a signed request has an unknown version")
	}
	if err := o.Signed.Statement.Check(); err != nil {
		return nil, err
	}
	return &o, o.Signed.Statement.CheckBody(o.Salt, o.Body)
}
