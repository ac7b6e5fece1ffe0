package witness

import (
	"crypto/sha256"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Head is the last checkpoint of a log that a witness cosigned; the zero Head is of
// a log it has not seen yet.
type Head struct {
	Tree       tlog.Tree
	Checkpoint []byte // signed note as it came; nil if there is none
}

// Code says in one word what became of a request.
type Code string

// Codes of verdicts. The last two are alarms.
const (
	CodeCosigned     Code = "COSIGNED"
	CodeMalformed    Code = "MALFORMED"
	CodeUnknownLog   Code = "UNKNOWN_LOG"
	CodeUnknownKey   Code = "UNKNOWN_KEY"
	CodeOldTooLarge  Code = "OLD_TOO_LARGE"
	CodeOtherSize    Code = "OTHER_SIZE" // the client's old size is not the witness's
	CodeBadProof     Code = "BAD_PROOF"  // an empty proof was due
	CodeInconsistent Code = "INCONSISTENT"
	CodeEquivocation Code = "EQUIVOCATION"
)

// Alarm says that a log's own key signed what does not follow from what it signed
// before: an EQUIVOCATION is proof by itself, two signed roots for one size; an
// INCONSISTENT checkpoint came with a proof that does not hold, and the log's tiles
// tell whether there is one that does.
func (c Code) Alarm() bool { return c == CodeEquivocation || c == CodeInconsistent }

// Verdict is the answer to one request.
type Verdict struct {
	// Status is the HTTP status of C2SP tlog-witness: 200, 400, 403, 404, 409 or 422.
	Status int
	Code   Code
	// TellSize asks for the size of the head as text/x.tlog.size.
	TellSize bool
	// Next is the head from now on, which must be durable before the answer, and Text
	// what is to be cosigned; of a 200 only.
	Next Head
	Text string
	// Offered is the tree of a checkpoint whose signature holds.
	Offered tlog.Tree
}

// UnknownLog is the verdict on a request for a log that the witness does not serve.
func UnknownLog() Verdict { return Verdict{Status: 404, Code: CodeUnknownLog} }

// Malformed is the verdict on what is no request.
func Malformed() Verdict { return Verdict{Status: 400, Code: CodeMalformed} }

// Decide answers a request for the log that origin and keys name, of which head was
// cosigned last. The order of the checks is that of the C2SP document.
func Decide(origin string, keys note.Verifiers, head Head, r Request) Verdict {
	n, err := note.Open(r.Checkpoint, keys)
	if err != nil {
		return Verdict{Status: 403, Code: CodeUnknownKey}
	}
	cp, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil || cp.Origin != origin || cp.String() != n.Text {
		return Malformed()
	}
	v := Verdict{Offered: cp.Tree}
	refuse := func(status int, code Code) Verdict {
		v.Status, v.Code = status, code
		return v
	}
	if r.Old > cp.N {
		return refuse(400, CodeOldTooLarge)
	}
	// Two signed roots for one size are proof, whatever the client says it believes.
	if head.Checkpoint != nil && cp.N == head.Tree.N && cp.Hash != head.Tree.Hash {
		v.TellSize = r.Old != head.Tree.N
		return refuse(409, CodeEquivocation)
	}
	if r.Old != head.Tree.N {
		v.TellSize = true
		return refuse(409, CodeOtherSize)
	}
	switch {
	case cp.N == 0 && cp.Hash != tlog.Hash(sha256.Sum256(nil)):
		return refuse(422, CodeInconsistent)
	case r.Old == 0 || r.Old == cp.N:
		if len(r.Proof) > 0 {
			return refuse(422, CodeBadProof)
		}
	default:
		if tlog.CheckTree(r.Proof, cp.N, cp.Hash, head.Tree.N, head.Tree.Hash) != nil {
			return refuse(422, CodeInconsistent)
		}
	}
	v.Status, v.Code, v.Text = 200, CodeCosigned, n.Text
	v.Next = Head{Tree: cp.Tree, Checkpoint: r.Checkpoint}
	if head.Checkpoint != nil && head.Tree == cp.Tree {
		v.Next = head
	}
	return v
}
