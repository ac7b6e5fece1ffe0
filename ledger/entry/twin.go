package entry

import (
	"errors"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/twin"
)

// Kinds of the publication of a synthetic twin 合成孪生.
const (
	KindTwinReserved  Kind = "twin.reserved"
	KindTwinPublished Kind = "twin.published"
	KindTwinFailed    Kind = "twin.failed"
)

// TwinRequest is what a department asks to be published.
type TwinRequest struct {
	Twin    string    `json:"twin"` // id, derived from department and request id
	Request string    `json:"request_id"`
	Spec    twin.Spec `json:"spec"`
}

// TwinReserved lets a twin be learned: its price is debited from the account of the
// department before a row is read, and never given back.
type TwinReserved struct {
	Request  TwinRequest     `json:"request"`
	Snapshot string          `json:"snapshot"`
	Schema   string          `json:"schema"` // digest of what the catalogue makes of the specification
	Price    budget.Nano     `json:"price"`
	Charges  []budget.Charge `json:"charges"`
}

// TwinPublished commits to a learned twin, before anybody gets it.
type TwinPublished struct {
	Twin        string          `json:"twin"`
	Certificate TwinCertificate `json:"certificate"`
}

// TwinCertificate is what is said of a twin. All of it follows from noised sums.
type TwinCertificate struct {
	Document      string      `json:"document"` // SHA-256 of the twin's document
	Schema        string      `json:"schema"`   // digest
	Rho           budget.Nano `json:"rho"`      // what the passes that were asked cost, at most the price
	Units         int64       `json:"units"`    // noisy
	MarginalsOnly bool        `json:"marginals_only,omitempty"`
	Quality       TwinFigures `json:"quality"`
	Code          string      `json:"code"` // version of the program that learned it
}

// TwinFigures are the figures of a twin's quality that fit an entry whatever the number
// of columns; those by column, pair and question stand in the document, whose digest is
// certified.
type TwinFigures struct {
	Rows   int         `json:"rows"`
	OneWay twin.Figure `json:"one_way"`
	TwoWay twin.Figure `json:"two_way,omitzero"`
}

// FiguresOf are the figures of a document's quality.
func FiguresOf(q twin.Quality) TwinFigures {
	return TwinFigures{Rows: q.Rows, OneWay: q.OneWay, TwoWay: q.TwoWay}
}

// TwinFailed ends a twin that was not learned; as Failed does a job.
type TwinFailed struct {
	Twin string `json:"twin"`
	Code string `json:"code"`
	By   string `json:"by,omitempty"`
	Rule string `json:"rule,omitempty"`
}

func (e *Entry) checkTwin() error {
	switch {
	case e.TwinReserved != nil && !isHash(e.TwinReserved.Schema):
		return errors.New("the schema of the twin is not a SHA-256 hash")
	case e.TwinPublished != nil:
		if c := e.TwinPublished.Certificate; !isHash(c.Document) || !isHash(c.Schema) || c.Code == "" || len(c.Code) > 256 {
			return errors.New("a digest of the twin is not a SHA-256 hash, or nobody learned it")
		}
	case e.TwinFailed != nil && !modelCode.MatchString(e.TwinFailed.Code):
		return errors.New("the failure of a twin is no code")
	}
	return nil
}
