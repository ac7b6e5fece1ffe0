package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	duckdbdriver "github.com/duckdb/duckdb-go/v2"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
)

// Limits of the analyser. They are repeated here, beside the engine, because
// the worker that runs it must not rely on its caller having checked.
const (
	// Bytes of SQL text. An operator's is held to 64 KiB by analyse.CheckText; a
	// rendered one may list thousands of registered codes.
	maxSyntaxText    = 512 << 10
	maxSyntaxPayload = 4 << 20  // bytes of an AnalyseCall request
	maxSyntaxTree    = 16 << 20 // bytes of JSON handed back
	maxSyntaxSchemas = algebra.MaxTables + algebra.MaxParts
	maxSyntaxColumns = 2000 // columns of one schema
	maxSyntaxName    = 255  // bytes of a column name
	syntaxTimeout    = 5 * time.Second
)

// The analyser's errors are constants: DuckDB's own texts quote the operator's
// literals, which may be somebody's identity number.
var (
	errSyntaxText   = errors.New("failed to analyse text: text is empty, longer than 512 KiB or holds a NUL")
	errSyntaxEngine = errors.New("failed to analyse text: the parser gave no answer")
	errSyntaxSize   = errors.New("failed to analyse text: syntax tree is too large")
	errPlanSchema   = errors.New("failed to build schema: a schema is malformed or too large")
	errPlanEngine   = errors.New("failed to bind text: the planner gave no answer")
	errCallPayload  = errors.New("failed to read analyse request: malformed or too large")
)

// OpenAnalyser opens an empty in-memory database that can parse and bind but
// reach nothing: no file, no extension, no further setting. It is the only kind
// of database operator text is ever shown to.
func OpenAnalyser() (*sql.DB, error) {
	connector, err := duckdbdriver.NewConnector("?threads=1&memory_limit=256MB", hardenAnalyser)
	if err != nil {
		return nil, fmt.Errorf("failed to open analyser: %w", err)
	}
	db := sql.OpenDB(connector)
	// The attached schemas belong to one connection's call; one is enough.
	db.SetMaxOpenConns(1)
	return db, nil
}

// hardenAnalyser runs once per connection. The order matters: temp_directory
// cannot be set once external access is off, and the lock must come last.
func hardenAnalyser(exec driver.ExecerContext) error {
	for _, statement := range []string{
		"SET temp_directory=''",
		"SET allow_community_extensions=false",
		"SET autoinstall_known_extensions=false",
		"SET autoload_known_extensions=false",
		"SET allow_persistent_secrets=false",
		"SET enable_external_access=false",
		"SET disabled_filesystems='LocalFileSystem'",
		"SET lock_configuration=true",
	} {
		if _, err := exec.ExecContext(context.Background(), statement, nil); err != nil {
			return fmt.Errorf("failed to harden analyser: %w", err)
		}
	}
	return nil
}

// Syntax returns DuckDB's syntax tree of text as JSON (json_serialize_sql). A
// syntax error is not an error here: it is a tree with "error": true, which
// analyse.Decode turns into a refusal; the tree then quotes the operator's words
// and must not be logged. The text is a bound parameter: parsed, never executed.
func Syntax(ctx context.Context, db *sql.DB, text string) ([]byte, error) {
	p := planner{db: db}
	defer p.close()
	return p.syntax(ctx, text)
}

// BoundPlan returns the bound, non-optimised logical plan of text as JSON
// (json_serialize_plan) over databases d0, d1, … that hold an empty table
// main.t each, typed as snapshots store schemas[i]. The databases are detached
// again before it returns. text must be engine SQL that compute/render made,
// never an operator's: binding runs table functions' bind phase.
func BoundPlan(ctx context.Context, db *sql.DB, schemas []algebra.Schema, text string) ([]byte, error) {
	p := planner{db: db}
	defer p.close()
	plan, err := p.bind(ctx, schemas, text)
	if e := p.clear(ctx); e != nil && err == nil {
		return nil, e
	}
	return plan, err
}

// planner parses texts, and binds those of ours over empty tables. It keeps the
// tables from one call to the next, for queries of one domain mostly name the same
// data sets, and the two statements it asks with, which cost as much to prepare as
// to run. It is safe for concurrent use.
type planner struct {
	db *sql.DB

	mu            sync.Mutex
	parses, binds *sql.Stmt
	tables        []string // statement that made d<i>'s table
}

// close lets go of the statements; the database is the caller's.
func (p *planner) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range []*sql.Stmt{p.parses, p.binds} {
		if s != nil {
			_ = s.Close()
		}
	}
	p.parses, p.binds = nil, nil
}

// ask runs a statement of one text in and one out, prepared at its first use. The
// caller holds p.mu.
func (p *planner) ask(ctx context.Context, kept **sql.Stmt, statement, text string, failed error) ([]byte, error) {
	if *kept == nil {
		s, err := p.db.PrepareContext(ctx, statement)
		if err != nil {
			return nil, failed
		}
		*kept = s
	}
	var tree []byte
	if err := (*kept).QueryRowContext(ctx, text).Scan(&tree); err != nil {
		return nil, failed
	}
	if len(tree) > maxSyntaxTree {
		return nil, errSyntaxSize
	}
	return tree, nil
}

func badText(text string) bool {
	return text == "" || len(text) > maxSyntaxText || strings.ContainsRune(text, 0)
}

func (p *planner) syntax(ctx context.Context, text string) ([]byte, error) {
	if badText(text) {
		return nil, errSyntaxText
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ask(ctx, &p.parses, "SELECT json_serialize_sql($1::VARCHAR)::VARCHAR", text, errSyntaxEngine)
}

func (p *planner) bind(ctx context.Context, schemas []algebra.Schema, text string) ([]byte, error) {
	if badText(text) {
		return nil, errSyntaxText
	}
	want, err := schemaTables(schemas)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, create := range want {
		if i < len(p.tables) && p.tables[i] == create {
			continue
		}
		name := "d" + strconv.Itoa(i)
		if i == len(p.tables) {
			for _, statement := range append([]string{"ATTACH IF NOT EXISTS ':memory:' AS " + name}, consentTable(i)...) {
				if _, err := p.db.ExecContext(ctx, statement); err != nil {
					return nil, errPlanSchema
				}
			}
			p.tables = append(p.tables, "")
		}
		p.tables[i] = ""
		if _, err := p.db.ExecContext(ctx, "CREATE OR REPLACE TABLE "+name+".main.t "+create); err != nil {
			return nil, errPlanSchema
		}
		p.tables[i] = create
	}
	return p.ask(ctx, &p.binds, "SELECT json_serialize_plan($1::VARCHAR)::VARCHAR", text, errPlanEngine)
}

func (p *planner) clear(ctx context.Context) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.tables {
		for _, name := range []string{"d", "g"} {
			if _, e := p.db.ExecContext(context.WithoutCancel(ctx), "DETACH DATABASE IF EXISTS "+name+strconv.Itoa(i)); e != nil {
				err = errPlanEngine
			}
		}
	}
	p.tables = nil
	return err
}

// schemaTables renders the columns of each schema's table.
func schemaTables(schemas []algebra.Schema) ([]string, error) {
	if len(schemas) == 0 || len(schemas) > maxSyntaxSchemas {
		return nil, errPlanSchema
	}
	var out []string
	for _, schema := range schemas {
		if len(schema.Columns) > maxSyntaxColumns {
			return nil, errPlanSchema
		}
		var columns []string
		for _, c := range schema.Columns {
			kind, ok := storedType(c.Type.Kind)
			if !ok || c.Name == "" || len(c.Name) > maxSyntaxName || strings.ContainsRune(c.Name, 0) {
				return nil, errPlanSchema
			}
			columns = append(columns, `"`+strings.ReplaceAll(c.Name, `"`, `""`)+`" `+kind)
		}
		if !schema.Public {
			columns = append(columns, "_unit UBIGINT", "_rn INTEGER")
		}
		if schema.Consent {
			columns = append(columns, consentColumn)
		}
		if len(columns) == 0 {
			return nil, errPlanSchema
		}
		out = append(out, "("+strings.Join(columns, ", ")+")")
	}
	return out, nil
}

// storedType is the column type a snapshot uses for a kind. Decimals are stored
// as BIGINT minimal units so that sums are exact integers.
func storedType(k algebra.Kind) (string, bool) {
	switch k {
	case algebra.Bool:
		return "BOOLEAN", true
	case algebra.Int, algebra.Decimal:
		return "BIGINT", true
	case algebra.Date:
		return "DATE", true
	case algebra.Text:
		return "VARCHAR", true
	}
	return "", false
}

// AnalyseCall serves one engine.AnalyseRequest as JSON and returns JSON. Every
// call gets a database of its own. Its errors are constants and carry no part of
// the text.
func AnalyseCall(payload []byte) ([]byte, error) {
	request, err := readAnalyseRequest(payload)
	if err != nil {
		return nil, err
	}
	db, err := OpenAnalyser()
	if err != nil {
		return nil, errSyntaxEngine
	}
	defer func() { _ = db.Close() }()
	p := &planner{db: db}
	defer p.close()
	return answerAnalyse(context.Background(), p, request)
}

func readAnalyseRequest(payload []byte) (engine.AnalyseRequest, error) {
	var request engine.AnalyseRequest
	if len(payload) > maxSyntaxPayload {
		return request, errCallPayload
	}
	decoder := json.NewDecoder(strings.NewReader(string(payload)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil || decoder.More() {
		return request, errCallPayload
	}
	known := request.Op == engine.AnalyseSyntax && request.Schemas == nil || request.Op == engine.AnalyseGate
	if !known {
		return request, errCallPayload
	}
	return request, nil
}

func answerAnalyse(ctx context.Context, p *planner, request engine.AnalyseRequest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, syntaxTimeout)
	defer cancel()
	tree, err := p.syntax(ctx, request.SQL)
	if err != nil || request.Op == engine.AnalyseSyntax {
		return tree, err
	}
	plan, err := p.bind(ctx, request.Schemas, request.SQL)
	if err != nil {
		return nil, err
	}
	return engine.AppendGateReply(nil, tree, plan), nil
}
