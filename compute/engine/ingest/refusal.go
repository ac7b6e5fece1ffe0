package ingest

import "fmt"

// Code says why a file was refused or a row is bad.
type Code string

// Codes. The first group refuses a file at once, the second marks a row bad.
const (
	CodeHeader      Code = "HEADER_MISMATCH"   // a column is unknown, missing or twice
	CodeColumnType  Code = "COLUMN_TYPE"       // a Parquet column has another type
	CodeTruncated   Code = "TRUNCATED"         // the file ends inside a row or a block
	CodeSyntax      Code = "SYNTAX"            // not the announced format
	CodeEmpty       Code = "EMPTY"             // no header
	CodeTooManyBad  Code = "TOO_MANY_BAD_ROWS" // over the limit
	CodeNotOneRow   Code = "NOT_ONE_ROW"       // declared one row per unit, is not
	CodeNotUnique   Code = "NOT_UNIQUE"        // declared unique, is not
	CodeUnsupported Code = "UNSUPPORTED"       // format or specification

	CodeNotAnonymous Code = "NOT_ANONYMOUS" // no registered generalisation gives every class k units

	CodeFields   Code = "FIELD_COUNT" // another number of fields than the header
	CodeMalform  Code = "MALFORMED"   // not a value of the column's type
	CodeNull     Code = "NULL"        // NULL in a column that is not nullable
	CodeNotCode  Code = "NOT_A_CODE"  // not in the code list, and no Other
	CodeUnit     Code = "BAD_UNIT"    // the unit is missing or malformed
	CodeTooLong  Code = "TOO_LONG"    // text over 4096 bytes
	CodeEncoding Code = "ENCODING"    // text is not UTF-8 or holds NUL
)

var codes = map[Code]bool{
	CodeHeader: true, CodeColumnType: true, CodeTruncated: true, CodeSyntax: true, CodeEmpty: true, CodeTooManyBad: true,
	CodeNotOneRow: true, CodeNotUnique: true, CodeUnsupported: true, CodeFields: true, CodeMalform: true, CodeNull: true,
	CodeNotCode: true, CodeUnit: true, CodeTooLong: true, CodeEncoding: true, CodeNotAnonymous: true,
}

// Refusal is why a file was not taken. It is numbers and a code; Column indexes
// Spec.Columns, −1 for none.
type Refusal struct {
	Code   Code  `json:"code"`
	Row    int64 `json:"row,omitempty"`    // 1 is the first row after the header
	Field  int   `json:"field,omitempty"`  // 1 is the first field of the file
	Column int   `json:"column"`           // index into Spec.Columns
	Count  int64 `json:"count,omitempty"`  // rows, units or values concerned
	Rows   int64 `json:"rows,omitempty"`   // rows read
	Detail Code  `json:"detail,omitempty"` // TOO_MANY_BAD_ROWS: what the first bad row lacked
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("failed to ingest file: %s (row %d, field %d, column %d, count %d of %d rows)",
		r.Code, r.Row, r.Field, r.Column, r.Count, r.Rows)
}

// Valid says whether a refusal that came out of a worker holds known codes and
// an existing column only.
func (r *Refusal) Valid(columns int) bool {
	return codes[r.Code] && (r.Detail == "" || codes[r.Detail]) && r.Column >= -1 && r.Column < columns &&
		r.Row >= 0 && r.Field >= 0 && r.Count >= 0 && r.Rows >= 0
}

// refuse makes a refusal about the whole file.
func refuse(code Code) *Refusal { return &Refusal{Code: code, Column: -1} }

// Summary is what a finished ingest reports.
type Summary struct {
	Rows    int64          `json:"rows"` // stored
	Bad     int64          `json:"bad"`  // set aside
	BadBy   map[Code]int64 `json:"bad_by,omitempty"`
	Units   int64          `json:"units"`
	Clamped []int64        `json:"clamped,omitempty"` // per Spec.Columns
	Others  []int64        `json:"others,omitempty"`  // per Spec.Columns: values that became Other
	Content []byte         `json:"content"`           // order-independent keyed hash of the stored rows
	MaxRank int64          `json:"max_rank"`          // most rows of one unit
	// Generalised is nil without k-anonymous columns.
	Generalised *Generalised `json:"generalised,omitempty"`
}
