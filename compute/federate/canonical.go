package federate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Version of the messages. A reader refuses every other.
const Version = 1

// PayloadType of a message in its DSSE envelope.
const PayloadType = "application/vnd.sandgate.federation+json"

// MaxMessage bounds a message, in bytes: a manifest of 64 contributors with 128 parts and
// 33 secrets each.
const MaxMessage = 8 << 20

// SigningBytes is what a party signs of a message: its DSSE pre-authentication encoding,
// which no other kind of document of this system shares.
func SigningBytes(text []byte) []byte { return dsse.PAE(PayloadType, text) }

// Signed is a message as its sender signed it.
type Signed struct {
	Text []byte `json:"text"`
	Sig  []byte `json:"sig"`
}

// canonical writes a value the one way it is written: JSON in the order of the fields,
// no blanks, no escapes of HTML.
func canonical(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("federate: a struct of strings, numbers and bytes did not marshal")
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

var errForm = errors.New("not in canonical form")

// decode reads what canonical wrote and nothing else: unknown fields, other spellings
// and trailing bytes are refused.
func decode[T any](text []byte) (*T, error) { return decodeUpTo[T](text, MaxMessage) }

func decodeUpTo[T any](text []byte, most int) (*T, error) {
	if len(text) > most {
		return nil, errForm
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	v := new(T)
	if dec.Decode(v) != nil {
		return nil, errForm
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errForm
	}
	if !bytes.Equal(canonical(v), text) {
		return nil, errForm
	}
	return v, nil
}

// digest is the SHA-256, in hex, of a label and parts, each preceded by its length: no
// digest of one thing is one of another.
func digest(label string, parts ...[]byte) string {
	h := sha256.New()
	put := func(b []byte) {
		var n [8]byte
		for i := range n {
			n[i] = byte(uint64(len(b)) >> (56 - 8*i))
		}
		h.Write(n[:])
		h.Write(b)
	}
	put([]byte("sandgate/federation/v1/" + label))
	for _, p := range parts {
		put(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func isHash(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
