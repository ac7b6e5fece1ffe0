package algebra

import "encoding/json"

// PostQuery is an operator's own SQL around the protected core, with the core
// replaced by the table main.released. It is run by an engine that holds released
// values and nothing else, so its text needs no counterpart in the algebra; it is
// not part of the core, costs nothing and never reaches the ledger.
type PostQuery struct {
	// Tree is the statement as the parser's JSON (json_serialize_sql).
	Tree json.RawMessage `json:"tree"`
	// Columns are the columns of main.released, parallel to Post.Outputs; empty when
	// the text has no core and reads earlier releases alone.
	Columns []string `json:"columns,omitempty"`
	// Releases are the jobs whose releases the statement reads, as tables
	// releases."<job>", in the order of first use.
	Releases []string `json:"releases,omitempty"`
}
