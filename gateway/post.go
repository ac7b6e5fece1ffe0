package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// Limits of one text's parameters and of the releases it may read.
const (
	maxParameters     = 100
	maxParameterBytes = 16 << 10
	maxPostReleases   = 10
)

// postSeats is how many post-processing statements run at once, beside the jobs:
// each for at most 20 s and 512 MiB.
const postSeats = 4

// warmPosts is how many workers for them stand ready.
const warmPosts = 1

// Source is an earlier release that post-processing read.
type Source struct {
	Job    string
	Answer *Answer
}

// Boundary is the cut of a text between protected core and post-processing.
type Boundary struct {
	CoreSQL, PostSQL string
	From, To         int // bytes of the text that hold the core
	Released         []string
	Releases         []string
	Columns          []engine.PostColumn
}

// bindPost checks the post-processing of a text before anything is charged: it is
// bound against empty tables of the shape the release will have. What the engine
// says of a wrong statement goes to the operator and nowhere else.
func (d *Domain) bindPost(ctx context.Context, operator string, p *prepared) (*Boundary, error) {
	q := p.query.Post.Query
	if q == nil {
		return nil, nil
	}
	var tables []*release.Table
	if p.plan != nil {
		columns, err := release.Shape(p.plan, p.query.Post)
		if err != nil {
			return nil, err
		}
		table, err := release.EmptyTable("main", "released", columns)
		if err != nil {
			return nil, err
		}
		tables = append(tables, table)
	}
	named, _, err := d.named(ctx, operator, operator, q.Releases)
	if err != nil {
		return nil, err
	}
	if err := d.pool.Restart(ctx); err != nil {
		return nil, workersDown()
	}
	leave, err := d.turns.enter(ctx, operator)
	if err != nil {
		return nil, err
	}
	defer leave()
	head, err := d.post.Check(ctx, operator, q, p.parts.Core, append(tables, named...))
	if err != nil {
		return nil, postRefused(err, "", p.text)
	}
	return &Boundary{CoreSQL: head.CoreSQL, PostSQL: head.SQL, From: p.parts.From, To: p.parts.To, Released: q.Columns, Releases: q.Releases, Columns: head.Columns}, nil
}

// named loads the releases that a statement of owner names, as party may see
// them: what was released, before the post-processing of their own jobs' texts.
func (d *Domain) named(ctx context.Context, party, owner string, jobs []string) ([]*release.Table, []Source, error) {
	if len(jobs) > maxPostReleases {
		return nil, nil, invalid("POST_RELEASES", "一条语句最多读取 10 个发布结果", "a text may read 10 releases at most")
	}
	var tables []*release.Table
	var sources []Source
	for _, job := range jobs {
		var j state.Job
		var err error
		d.log.View(func() { j, err = d.job(party, job) })
		if err == nil && j.Operator != owner {
			err = invalid("NOT_FOUND", "没有这个作业", "there is no such job")
		}
		if err != nil {
			return nil, nil, err
		}
		a, err := d.Released(ctx, party, job)
		if err != nil {
			return nil, nil, err
		}
		t, err := a.Release.Table("releases", job)
		if err != nil {
			return nil, nil, err
		}
		tables, sources = append(tables, t), append(sources, Source{job, a})
	}
	return tables, sources, nil
}

// derive runs a job's post-processing on its release and the releases it names.
func (d *Domain) derive(ctx context.Context, party, owner string, a *Answer, q *algebra.PostQuery) error {
	var tables []*release.Table
	if a.Release != nil {
		t, err := a.Release.Table("main", "released")
		if err != nil {
			return err
		}
		tables = append(tables, t)
	}
	named, sources, err := d.named(ctx, party, owner, q.Releases)
	if err != nil {
		return err
	}
	a.Sources = sources
	job := a.Job
	if a.Mark != nil {
		job = "" // not kept: the id of a rehearsal may come again for other rows
	}
	if a.Derived = d.derived.get(job); a.Derived != nil {
		return nil
	}
	if err := d.pool.Restart(ctx); err != nil {
		return workersDown()
	}
	leave, err := d.turns.enter(ctx, owner)
	if err != nil {
		return err
	}
	defer leave()
	if a.Derived, err = d.post.Run(ctx, owner, q, append(tables, named...)); err != nil {
		return postRefused(err, a.Job, "")
	}
	d.derived.put(job, a.Derived)
	return nil
}

// Free answers a text that has no core and reads the operator's earlier releases
// alone: nothing is decided, charged or recorded, since nothing new is released.
// ok is false for any other text.
func (d *Domain) Free(ctx context.Context, operator string, q Query) (a *Answer, ok bool, err error) {
	p, err := d.free(ctx, operator, q, policies.ActSubmitJob)
	if err != nil || p == nil {
		return nil, false, err
	}
	if _, err := d.bindPost(ctx, operator, p); err != nil {
		return nil, true, err
	}
	a = &Answer{}
	return a, true, d.derive(ctx, operator, operator, a, p.query.Post.Query)
}

// explainFree is Explain for such a text; nil for any other.
func (d *Domain) explainFree(ctx context.Context, operator string, q Query) (*Explanation, error) {
	p, err := d.free(ctx, operator, q, policies.ActExplainJob)
	if err != nil || p == nil {
		return nil, err
	}
	b, err := d.bindPost(ctx, operator, p)
	if err != nil {
		return nil, err
	}
	return &Explanation{Allowed: true, Boundary: b}, nil
}

func (d *Domain) free(ctx context.Context, operator string, q Query, act policies.Action) (*prepared, error) {
	// Such a text names the schema of releases; no other is parsed twice for it.
	if !strings.Contains(strings.ToLower(q.SQL), "releases") {
		return nil, nil
	}
	if err := d.Authorize(operator, act, policies.Resource{}); err != nil {
		return nil, err
	}
	p := &prepared{}
	if _, err := d.analyse(ctx, operator, p, q); err != nil || len(p.analysis) > 0 || !p.free() {
		return nil, err
	}
	return p, nil
}

// free says whether a text has post-processing and no core.
func (p *prepared) free() bool { return p.query.Post.Query != nil && p.parts.Core == nil }

// postRefused turns an error of the post worker into a refusal. The engine saw
// released values and the operator's own text only, so its words may be shown to
// him; they are not part of any error's text that is logged.
func postRefused(err error, job, text string) error {
	var p *engine.PostError
	if !errors.As(err, &p) {
		return err
	}
	r := policies.Reason{Code: p.Code, Rule: "post-processing", SetBy: "sandgate"}
	switch p.Code {
	case engine.PostLimit:
		r.ZH, r.EN = "后处理超出时间、内存或结果大小的上限；发布结果不受影响", "post-processing ran out of time, memory or room for its result; the release itself stays"
		r.HintZH, r.HintEN = "上限：20 秒、512 MiB、100000 行、64 MiB；用 sandgate job show 作业 --released 取回发布结果", "limits: 20 s, 512 MiB, 100000 rows, 64 MiB; sandgate job show JOB --released returns the release"
	case engine.PostType:
		r.ZH, r.EN = "输出列的类型不能返回："+p.Message, "the output column's type cannot be returned: "+p.Message
		r.HintZH, r.HintEN = "请用 CAST(… AS VARCHAR) 转为文本", "make it text with CAST(… AS VARCHAR)"
	default:
		r.ZH, r.EN = "后处理部分有误："+p.Message, "the post-processing is wrong: "+p.Message
		r.HintZH, r.HintEN = "用 sandgate job explain 查看语句如何划分", "sandgate job explain shows how the text is cut"
		if text != "" {
			analyse.Place(&r, text, p.Offset)
		}
	}
	return &Refusal{Job: job, Reasons: []policies.Reason{r}}
}

// postTurns lets one statement of an operator run at a time, so that nobody's
// endless ones take all the seats.
type postTurns struct {
	mu      sync.Mutex
	byOwner map[string]chan struct{}
}

// enter waits for the owner's turn and returns how to give it up.
func (t *postTurns) enter(ctx context.Context, owner string) (leave func(), err error) {
	t.mu.Lock()
	if t.byOwner == nil {
		t.byOwner = map[string]chan struct{}{}
	}
	turn, ok := t.byOwner[owner]
	if !ok {
		turn = make(chan struct{}, 1)
		t.byOwner[owner] = turn
	}
	t.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// derivedAnswers keeps recent small answers of post-processing. A job's release
// and statement never change, so neither does what comes of them; without it every
// look at a list of jobs would run their statements again.
type derivedAnswers struct {
	mu    sync.Mutex
	byJob map[string]*engine.Derived
	order []string
}

const (
	keptDerived      = 64
	keptDerivedCells = 20_000
)

// get is a kept answer, nil for a job of which none is kept and for none, "".
func (c *derivedAnswers) get(job string) *engine.Derived {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byJob[job]
}

func (c *derivedAnswers) put(job string, a *engine.Derived) {
	size := 0
	for _, row := range a.Rows {
		for _, v := range row {
			if size++; v != nil {
				size += len(*v) / 64
			}
		}
	}
	if job == "" || size > keptDerivedCells {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byJob == nil {
		c.byJob = map[string]*engine.Derived{}
	}
	if _, ok := c.byJob[job]; ok {
		return
	}
	if len(c.order) >= keptDerived {
		delete(c.byJob, c.order[0])
		c.order = slices.Delete(c.order, 0, 1)
	}
	c.byJob[job], c.order = a, append(c.order, job)
}
