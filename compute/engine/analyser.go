package engine

import (
	"encoding/json"

	"github.com/sandgate/sandgate/compute/algebra"
)

// AnalyseHandler is the worker handler that parses text in a schema-only
// database. It never sees data.
const AnalyseHandler = "analyse"

// Operations of an AnalyseRequest.
const (
	AnalyseSyntax = "syntax" // operator text → syntax tree
	AnalyseGate   = "gate"   // rendered text and schemas → AnalyseGateReply
)

// AnalyseRequest is the payload of AnalyseHandler. The reply to AnalyseSyntax is
// the tree itself.
type AnalyseRequest struct {
	Op      string           `json:"op"`
	SQL     string           `json:"sql"`
	Schemas []algebra.Schema `json:"schemas,omitempty"` // AnalyseGate only
}

// AnalyseGateReply is what the gate compares a plan with: the rendered text
// parsed again, and its bound logical plan.
type AnalyseGateReply struct {
	Syntax json.RawMessage `json:"syntax"`
	Plan   json.RawMessage `json:"plan"`
}

// AppendGateReply appends the JSON of an AnalyseGateReply of two JSON documents. The
// encoder of the standard library would read both through again.
func AppendGateReply(dst []byte, syntax, plan []byte) []byte {
	dst = append(dst, `{"syntax":`...)
	dst = append(dst, syntax...)
	dst = append(dst, `,"plan":`...)
	dst = append(dst, plan...)
	return append(dst, '}')
}
