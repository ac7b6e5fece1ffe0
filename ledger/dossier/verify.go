package dossier

import (
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/witness"
	"github.com/sandgate/sandgate/policies"
)

// Options of a verification.
type Options struct {
	// Trust are the keys that the verifier got by another way than the file.
	Trust entry.Genesis
	// Witnesses, if set, are cosignatures that the verifier asks for, whatever the
	// witness policy in the file says.
	Witnesses witness.Policy
	// Authorities, if not nil, are the roots that a time-stamp in the file must lead to;
	// a file without one is refused then.
	Authorities *x509.CertPool
}

// Report is what a file proves.
type Report struct {
	Job       string      `json:"job"`
	Operator  string      `json:"operator"`
	Licence   string      `json:"licence"`
	Purpose   string      `json:"purpose"`
	Datasets  []string    `json:"datasets"`
	Price     string      `json:"price"` // ρ debited, of the job that was computed
	Reserved  time.Time   `json:"reserved"`
	Released  time.Time   `json:"released"`
	Digest    string      `json:"digest"` // SHA-256 of the encoded release
	RepeatOf  string      `json:"repeat_of,omitempty"`
	Origin    string      `json:"origin"`
	Size      uint64      `json:"size"` // of the checkpoint's tree
	Root      string      `json:"root"`
	Quorum    int         `json:"quorum"` // of the witness policy in the file; 0: none
	Documents []Signed    `json:"documents"`
	Cosigned  []Cosigning `json:"cosignatures"`
	Timestamp *Stamp      `json:"timestamp,omitempty"`
}

// Signed is a bundle in force and who signed it.
type Signed struct {
	Index     uint64    `json:"index"`
	At        time.Time `json:"at"`
	Documents []string  `json:"documents"` // "licence/alpha-2026"
	Signers   []string  `json:"signers"`
}

// Cosigning is a cosignature that holds.
type Cosigning = witness.Cosignature

// Verify checks a file by itself: the checkpoint by the log's key, every entry's
// inclusion, the first entry against the trusted keys, every document's signatures by
// the registry of its time, that the owners signed what governs the release, that the
// licence covers it, and that enough witnesses cosigned. It does not decide the query
// again, nor can it see that a later document replaced one of these before the
// reservation: that is for an audit of the whole ledger.
func (f *File) Verify(opt Options) (*Report, error) {
	key, err := f.keys(opt.Trust.LogKey)
	if err != nil {
		return nil, err
	}
	v := &verifier{file: f, entries: map[uint64]*entry.Entry{}, last: map[string]vouched{}}
	if err := v.included(key); err != nil {
		return nil, err
	}
	if g := v.entries[0]; g == nil || g.Genesis == nil || *g.Genesis != opt.Trust {
		return nil, texts.Errorf("the first entry of the ledger is missing or names other keys than those trusted")
	}
	regulator, err := policies.ParsePartyKey(opt.Trust.RegulatorKey)
	if err != nil {
		return nil, texts.Errorf("failed to read the regulator's key: %w", err)
	}
	v.book = policies.NewBook(opt.Trust.Regulator, regulator)
	if err := v.find(); err != nil {
		return nil, err
	}
	if err := v.documents(); err != nil {
		return nil, err
	}
	if err := v.rests(opt.Trust.Regulator); err != nil {
		return nil, err
	}
	if v.report.Timestamp, err = f.stamp(opt.Authorities); err != nil {
		return nil, err
	}
	if opt.Authorities != nil && v.report.Timestamp == nil {
		return nil, texts.Errorf("the file holds no time-stamp")
	}
	return v.report, v.witnessed(opt.Witnesses)
}

type vouched struct {
	doc     policies.Document
	signers map[string]bool
}

type verifier struct {
	file    *File
	entries map[uint64]*entry.Entry
	book    *policies.Book
	report  *Report
	// The reservation and the release of the job that was computed.
	reserved, released *entry.Entry
	request            entry.Request
	last               map[string]vouched // by subject, as of the reservation
	policy             *policies.WitnessPolicy
}

// keys is the chain of checkpoint keys from the trusted one on, by the hand-overs that
// the file holds.
func (f *File) keys(first string) (*evidence.Chain, error) {
	chain, err := evidence.NewChain(first)
	if err != nil {
		return nil, err
	}
	var next *entry.Announced
	for _, x := range f.Entries {
		e, err := entry.Decode([]byte(x.Text))
		if err != nil {
			return nil, texts.Errorf("entry %d: %w", x.Index, err)
		}
		next = state.HandOver(chain, x.Index, e, next)
	}
	return chain, nil
}

// included checks every entry's place in the signed tree.
func (v *verifier) included(key note.Verifier) error {
	cp, err := evidence.OpenCheckpoint([]byte(v.file.Checkpoint), key)
	if err != nil {
		return err
	}
	v.report = &Report{Job: v.file.Job, Origin: cp.Origin, Size: uint64(cp.N), Root: cp.Hash.String()}
	for i, e := range v.file.Entries {
		if i > 0 && e.Index <= v.file.Entries[i-1].Index {
			return texts.Errorf("the entries are not in order")
		}
		p := evidence.Proof{Entry: []byte(e.Text), Index: e.Index, Size: uint64(cp.N), Hashes: e.Hashes, Checkpoint: v.file.Checkpoint}
		if err := p.Verify(key); err != nil {
			return err
		}
		decoded, err := entry.Decode([]byte(e.Text))
		if err != nil {
			return texts.Errorf("entry %d: %w", e.Index, err)
		}
		if decoded.Seq != e.Index {
			return texts.Errorf("entry %d says that it is entry %d", e.Index, decoded.Seq)
		}
		v.entries[e.Index] = decoded
	}
	return nil
}

// find looks for the job's entries.
func (v *verifier) find() error {
	job := v.file.Job
	for _, seq := range slices.Sorted(maps.Keys(v.entries)) {
		if e := v.entries[seq]; e.Repeated != nil && e.Repeated.Request.Job == job {
			v.report.RepeatOf, job = e.Repeated.Of, e.Repeated.Of
			v.request, v.report.Operator = e.Repeated.Request, e.Actor
		}
	}
	for _, e := range v.entries {
		switch {
		case e.Reserved != nil && e.Reserved.Request.Job == job:
			v.reserved = e
		case e.Released != nil && e.Released.Job == job:
			v.released = e
		}
	}
	if v.reserved == nil || v.released == nil || v.released.Seq < v.reserved.Seq || v.reserved.Reserved.Request.Core == nil {
		return texts.Errorf("the reservation or the release of job %q is missing", job)
	}
	r, out := v.reserved.Reserved, v.report
	if out.RepeatOf == "" {
		v.request, out.Operator = r.Request, v.reserved.Actor
	} else if v.request.Query != r.Request.Query || v.request.Core == nil {
		return texts.Errorf("the repeat is of another query")
	}
	out.Licence, out.Purpose, out.Datasets = v.request.Licence, v.request.Purpose, v.request.Core.Datasets()
	out.Price, out.Digest = r.Price.String(), v.released.Released.Digest
	out.Reserved, out.Released = v.reserved.Time(), v.released.Time()
	return nil
}

// documents verifies the signatures of every bundle by the keys of its time and keeps
// the last on each subject before the decision.
func (v *verifier) documents() error {
	decided := v.reserved.Seq
	for seq, e := range v.entries {
		if e.Repeated != nil && e.Repeated.Request.Job == v.file.Job {
			decided = seq
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(v.entries)) {
		e := v.entries[seq]
		if e.Policy == nil {
			continue
		}
		envelope, err := state.Inflate(e.Policy.Envelope)
		if err != nil {
			return texts.Errorf("entry %d: %w", seq, err)
		}
		next, docs, signers, err := v.book.Vouched(envelope)
		if err != nil {
			return texts.Errorf("entry %d: %w", seq, err)
		}
		v.book = next
		s := Signed{Index: seq, At: e.Time(), Signers: slices.Sorted(maps.Keys(signers))}
		for _, d := range docs {
			if p, ok := d.Body.(*policies.WitnessPolicy); ok {
				if !signers[v.entries[0].Genesis.Regulator] {
					return texts.Errorf("entry %d: the regulator did not sign the witness policy", seq)
				}
				v.policy = p
			}
			about := subjects(d, v.request)
			if d.Registry != nil {
				about = []string{"registry"}
			}
			s.Documents = append(s.Documents, about...)
			for _, subject := range about {
				if seq < decided {
					v.last[subject] = vouched{d, signers}
				}
			}
		}
		v.report.Documents = append(v.report.Documents, s)
	}
	return nil
}

// rests checks that the documents are there, of the owners, and cover the request.
func (v *verifier) rests(regulator string) error {
	l, ok := v.last["licence/"+v.request.Licence]
	if !ok {
		return texts.Errorf("licence %q is missing", v.request.Licence)
	}
	at := v.reserved.Time()
	if v.report.RepeatOf != "" {
		for _, e := range v.entries {
			if e.Repeated != nil && e.Repeated.Request.Job == v.file.Job {
				at = e.Time()
			}
		}
	}
	x := l.doc.Licence
	switch {
	case x.Operator != v.report.Operator:
		return texts.Errorf("licence %q is another operator's", x.ID)
	case !l.signers[regulator]:
		return texts.Errorf("the regulator did not sign licence %q", x.ID)
	case !slices.Contains(x.Purposes, v.request.Purpose):
		return texts.Errorf("licence %q does not name the purpose %q", x.ID, v.request.Purpose)
	case at.Before(x.NotBefore) || !at.Before(x.NotAfter):
		return texts.Errorf("licence %q was not in force", x.ID)
	}
	for _, id := range v.request.Core.Datasets() {
		c, ok := v.last["catalogue/"+id]
		if !ok {
			return texts.Errorf("the catalogue of data set %q is missing", id)
		}
		owner := c.doc.Catalogue.Department
		public := slices.ContainsFunc(c.doc.Catalogue.Datasets, func(d policies.Dataset) bool { return d.ID == id && d.Public })
		for _, what := range []string{"catalogue", "grading", "masking", "disclosure"} {
			d, ok := v.last[what+"/"+id]
			switch {
			case !ok && (what == "masking" || public && what != "catalogue"):
				continue // a data set may have none
			case !ok:
				return texts.Errorf("the %s of data set %q is missing", what, id)
			case !d.signers[owner]:
				return texts.Errorf("department %q did not sign the %s of its data set %q", owner, what, id)
			}
		}
		if !public && !slices.ContainsFunc(x.Resources, func(o policies.LicenceObject) bool { return o.Dataset == id }) {
			return texts.Errorf("licence %q does not grant data set %q", x.ID, id)
		}
		if !public && !l.signers[owner] {
			return texts.Errorf("department %q did not sign licence %q, which grants its data set %q", owner, x.ID, id)
		}
	}
	return nil
}

// witnessed checks the cosignatures by the policy in the file and by the verifier's.
func (v *verifier) witnessed(asked witness.Policy) error {
	policy, err := witness.PolicyOf(v.policy)
	if err != nil {
		return err
	}
	v.report.Quorum = policy.Quorum
	for _, p := range []witness.Policy{policy, asked} {
		have := p.Cosigned([]byte(v.file.Checkpoint))
		if len(have) < p.Quorum {
			var names []string
			for _, c := range have {
				names = append(names, c.Name)
			}
			return texts.Errorf("%d witnesses must have cosigned the checkpoint, %d did: %s", p.Quorum, len(have), strings.Join(names, ", "))
		}
		for _, c := range have {
			if !slices.ContainsFunc(v.report.Cosigned, func(o Cosigning) bool { return o.Line == c.Line }) {
				v.report.Cosigned = append(v.report.Cosigned, c)
			}
		}
	}
	return nil
}
