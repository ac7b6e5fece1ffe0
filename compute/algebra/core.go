package algebra

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Limits of a core. They bound the work of every reader of the ledger.
const (
	MaxTables  = 11      // the fact table and ten joined ones
	MaxParts   = 31      // further partitions of the fact table
	MaxDerived = 64      // derived columns, of the core and of each PerUnit
	MaxPerUnit = 32      // aggregates of one PerUnit
	MaxAggs    = 200     // aggregates of a core
	MaxSets    = 64      // grouping sets
	MaxNodes   = 4000    // nodes and literals of all predicates and expressions
	MaxDepth   = 128     // their nesting
	maxCore    = 4 << 20 // bytes of an encoded core
)

// Bytes returns the canonical JSON of c: equal cores give equal bytes. Hash
// c.Canonical().Bytes() to recognise a question asked before.
func (c Core) Bytes() []byte { return mustMarshal(c) }

// ParseCore reads what Bytes wrote and nothing else: an unknown field, another
// spelling of the same JSON or a malformed core is an error. It does not need
// the schemas; Validate does.
func ParseCore(b []byte) (Core, error) {
	if len(b) > maxCore {
		return Core{}, errors.New("failed to parse core: too large")
	}
	var c Core
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		// The decoder's text may quote a field of the input.
		return Core{}, errors.New("failed to parse core: not a core")
	}
	if err := c.structure(); err != nil {
		return Core{}, fmt.Errorf("failed to parse core: %w", err)
	}
	if !bytes.Equal(c.Bytes(), b) {
		return Core{}, errors.New("failed to parse core: not in canonical encoding")
	}
	return c, nil
}

// Datasets lists the data sets a core reads, each once, in the order of its
// tables and their parts. Facts, snapshots and the engine's databases d0, d1, … are
// parallel to it.
func (c Core) Datasets() []string {
	var out []string
	add := func(id string) {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	for _, t := range c.Tables {
		add(t.Dataset)
		for _, p := range t.Parts {
			add(p)
		}
	}
	return out
}

// SchemasOf returns the schemas of c.Datasets() in their order, as compute/render
// and the engine's plan check want them.
func (c Core) SchemasOf(schemas []Schema) ([]Schema, error) {
	var out []Schema
	for i, id := range c.Datasets() {
		at := slices.IndexFunc(schemas, func(s Schema) bool { return s.Dataset == id })
		if at < 0 {
			return nil, fmt.Errorf("failed to find schema of data set %d", i)
		}
		out = append(out, schemas[at])
	}
	return out, nil
}
