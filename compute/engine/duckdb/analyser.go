package duckdb

import (
	"context"
	"database/sql"
	"os"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/sandbox"
)

func init() {
	sandbox.RegisterWith(engine.AnalyseHandler, sandbox.Registration{Handler: analyse, Warm: warmAnalyser, Early: true})
}

// The analyser worker keeps two databases. Rendered text, which is ours, is
// bound in own, again and again. Operator text gets a spare that nobody used
// before and nobody uses after, so nothing one text did can reach the next; the
// next spare is opened behind the answer, off the operator's clock.
var analysers = struct {
	own   *planner
	spare chan *sql.DB
}{spare: make(chan *sql.DB, 1)}

func openWarm() (*sql.DB, error) {
	db, err := OpenAnalyser()
	if err != nil {
		return nil, err
	}
	_, err = Syntax(context.Background(), db, "SELECT count(*) FROM t WHERE a = 1 GROUP BY b")
	return db, err
}

func warmAnalyser() error {
	own, err := openWarm()
	if err != nil {
		return err
	}
	analysers.own = &planner{db: own}
	db, err := openWarm()
	if err != nil {
		return err
	}
	analysers.spare <- db
	return nil
}

// refillSpare always hands on something, nil when no database could be opened,
// so that the next call fails instead of waiting.
func refillSpare(used *sql.DB) {
	if used != nil {
		_ = used.Close()
	}
	db, err := openWarm()
	if err != nil {
		db = nil
	}
	analysers.spare <- db
}

func analyse(ctx context.Context, payload []byte, _ []*os.File, emit func([]byte) error) error {
	request, err := readAnalyseRequest(payload)
	if err != nil {
		return err
	}
	p := analysers.own
	if request.Op == engine.AnalyseSyntax {
		db := <-analysers.spare
		defer func() { go refillSpare(db) }()
		if db == nil {
			return errSyntaxEngine
		}
		p = &planner{db: db}
	}
	reply, err := answerAnalyse(ctx, p, request)
	if err != nil {
		return err
	}
	return emit(reply)
}
