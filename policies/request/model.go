package request

import "strconv"

// MethodRelations has twins tied by the unit; see RelationsTerms.
const MethodRelations = "twin.relate"

// ScoreFields is the body of a scoring call: the columns, then every row's values, one
// field each. The ledger holds a salted commitment to it and nothing of it.
func ScoreFields(columns []string, rows [][]string) []Field {
	var out []Field
	for _, c := range columns {
		out = append(out, Field{"column", c})
	}
	for _, row := range rows {
		for _, v := range row {
			out = append(out, Field{"value", v})
		}
		out = append(out, Field{"row", ""})
	}
	return out
}

// TwinFields is the body of a twin's publication, which the ledger shows: it is
// committed to without a salt.
func TwinFields(columns, perUnit []string, rowsPerUnit int, rho string) []Field {
	out := []Field{{"rows_per_unit", strconv.Itoa(rowsPerUnit)}, {"rho", rho}}
	for _, c := range columns {
		out = append(out, Field{"column", c})
	}
	for _, c := range perUnit {
		out = append(out, Field{"per_unit", c})
	}
	return out
}

// CiphertextFields is the body of a scoring call on encrypted rows: the SHA-256, in
// hexadecimal, of seed, public key and all ciphertexts in the order they are sent.
func CiphertextFields(digest string) []Field { return []Field{{"ciphertexts", digest}} }

// RelatedTable is a data set of relations, with the columns that may tie it.
type RelatedTable struct {
	Dataset string
	Link    []string
}

// RelationsTerms are the terms of relations, which are of data sets in the order of their
// ids: dataset.1, dataset.2 and so on.
func RelationsTerms(tables []RelatedTable) map[string]string {
	out := map[string]string{}
	for i, t := range tables {
		out[TermDataset+"."+strconv.Itoa(i+1)] = t.Dataset
	}
	return out
}

// RelationsFields is the body of the publication of relations, which the ledger shows: it
// is committed to without a salt.
func RelationsFields(tables []RelatedTable, rho string) []Field {
	out := []Field{{"rho", rho}}
	for _, t := range tables {
		out = append(out, Field{"dataset", t.Dataset})
		for _, c := range t.Link {
			out = append(out, Field{"link", c})
		}
	}
	return out
}
