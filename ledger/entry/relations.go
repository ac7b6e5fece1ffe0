package entry

import (
	"errors"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/twin"
)

// Kinds of the publication of relations across tables 跨表关系.
const (
	KindRelationsReserved  Kind = "twin.relations.reserved"
	KindRelationsPublished Kind = "twin.relations.published"
	KindRelationsFailed    Kind = "twin.relations.failed"
)

// RelationsRequest is what a department asks to be tied.
type RelationsRequest struct {
	Relations string             `json:"relations"` // id, derived from department and request id
	Request   string             `json:"request_id"`
	Spec      twin.RelationsSpec `json:"spec"`
}

// RelationsReserved lets relations be learned: the price is debited from the twin account
// of every data set before a row is read, and never given back.
type RelationsReserved struct {
	Request RelationsRequest `json:"request"`
	Tables  []RelatedTwin    `json:"tables"` // in the order of the specification's
	Price   budget.Nano      `json:"price"`
	Charges []budget.Charge  `json:"charges"`
}

// RelatedTwin is a published twin that relations build upon.
type RelatedTwin struct {
	Twin     string `json:"twin"`
	Document string `json:"document"` // SHA-256 of the twin's document
	Schema   string `json:"schema"`   // digest
	Snapshot string `json:"snapshot"` // that the rows are read of
}

// RelationsPublished commits to learned relations, before anybody gets them.
type RelationsPublished struct {
	Relations   string               `json:"relations"`
	Certificate RelationsCertificate `json:"certificate"`
}

// RelationsCertificate is what is said of relations. All of it follows from noised sums.
type RelationsCertificate struct {
	Document string      `json:"document"` // SHA-256 of the relations' document
	Rho      budget.Nano `json:"rho"`
	Units    int64       `json:"units"` // with a row in any of the tables, noisy
	Quality  twin.Figure `json:"quality"`
	Code     string      `json:"code"` // version of the program that learned them
}

// RelationsFailed ends relations that were not learned; as Failed does a job.
type RelationsFailed struct {
	Relations string `json:"relations"`
	Code      string `json:"code"`
	By        string `json:"by,omitempty"`
	Rule      string `json:"rule,omitempty"`
}

func (e *Entry) checkRelations() error {
	switch {
	case e.RelationsReserved != nil:
		for _, t := range e.RelationsReserved.Tables {
			if !isHash(t.Document) || !isHash(t.Schema) {
				return errors.New("a twin or schema of the relations is not a SHA-256 hash")
			}
		}
	case e.RelationsPublished != nil:
		if c := e.RelationsPublished.Certificate; !isHash(c.Document) || c.Code == "" || len(c.Code) > 256 {
			return errors.New("the digest of the relations is not a SHA-256 hash, or nobody learned them")
		}
	case e.RelationsFailed != nil && !modelCode.MatchString(e.RelationsFailed.Code):
		return errors.New("the failure of relations is no code")
	}
	return nil
}
