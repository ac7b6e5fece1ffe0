package duckdb

import (
	"context"
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
	spare chan *planner
}{spare: make(chan *planner, 1)}

// openWarm opens a database whose statements are prepared and were used.
func openWarm() (*planner, error) {
	db, err := OpenAnalyser()
	if err != nil {
		return nil, err
	}
	p := &planner{db: db}
	if _, err = p.syntax(context.Background(), "SELECT count(*) FROM t WHERE a = 1 GROUP BY b"); err != nil {
		p.discard()
		return nil, err
	}
	return p, nil
}

// discard closes a planner and its database.
func (p *planner) discard() {
	p.close()
	_ = p.db.Close()
}

func warmAnalyser() error {
	own, err := openWarm()
	if err != nil {
		return err
	}
	analysers.own = own
	spare, err := openWarm()
	if err != nil {
		return err
	}
	analysers.spare <- spare
	return nil
}

// refillSpare always hands on something, nil when no database could be opened,
// so that the next call fails instead of waiting.
func refillSpare(used *planner) {
	if used != nil {
		used.discard()
	}
	next, err := openWarm()
	if err != nil {
		next = nil
	}
	analysers.spare <- next
}

func analyse(ctx context.Context, payload []byte, _ []*os.File, emit func([]byte) error) error {
	request, err := readAnalyseRequest(payload)
	if err != nil {
		return err
	}
	p := analysers.own
	if request.Op == engine.AnalyseSyntax {
		p = <-analysers.spare
		defer func() { go refillSpare(p) }()
		if p == nil {
			return errSyntaxEngine
		}
	}
	reply, err := answerAnalyse(ctx, p, request)
	if err != nil {
		return err
	}
	return emit(reply)
}
