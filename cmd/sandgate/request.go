package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
	"github.com/sandgate/sandgate/sandbox"
)

// requestsDir of a kit holds what opens the requests that it signed, unless
// SANDGATE_REQUESTS names another directory.
const requestsDir = "requests"

// signs sets up the signer of a kit: what opens a request is kept in the kit, so
// that the party can disclose it. It holds the text with its literals.
func (a *app) signs(k *home.Kit) func(*client.Signer) {
	dir := os.Getenv("SANDGATE_REQUESTS")
	if dir == "" {
		dir = filepath.Join(k.Dir, requestsDir)
	}
	return func(s *client.Signer) {
		s.Official = os.Getenv("SANDGATE_OFFICIAL")
		s.Salt = func(id string) []byte {
			if o, err := openingIn(requestFile(dir, id)); err == nil {
				return o.Salt
			}
			return nil
		}
		s.Keep = func(o *request.Opening) error { return keepOpening(dir, o) }
	}
}

// requestFile names the record of a request; a request id that is none has no file.
func requestFile(dir, id string) string {
	u, err := uuid.Parse(id)
	if err != nil {
		return ""
	}
	return filepath.Join(dir, u.String()+".json")
}

// keepOpening writes a record once. A retry of the same request finds its own; of
// another text under a used id, which the gateway refuses, nothing is kept.
func keepOpening(dir string, o *request.Opening) error {
	path := requestFile(dir, o.Signed.Statement.Request)
	if path == "" {
		return nil
	}
	text, err := o.Encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return texts.Errorf("failed to create directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return texts.Errorf("failed to create file: %w", err)
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func openingIn(path string) (*request.Opening, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, texts.Errorf("failed to read the record of a request: %w", err)
	}
	o, err := request.ParseOpening(text)
	if err != nil {
		return nil, texts.Errorf("%s: %w", path, err)
	}
	return o, nil
}

// reader reads disclosed texts on this machine, in the same jailed analyser that
// a gateway uses and with none of its data.
func reader(ctx context.Context, tier sandbox.Tier) (read audit.Reader, done func() error, err error) {
	pool, err := sandbox.NewPool(ctx, sandbox.Config{Tier: tier, Jobs: 1})
	if err != nil {
		return nil, nil, texts.Errorf("failed to prove worker isolation: %w", err)
	}
	s, err := pool.Sessions(ctx, engine.AnalyseHandler, 1, sandbox.Limits{Memory: disclosureMemory})
	if err != nil {
		return nil, nil, errors.Join(texts.Errorf("failed to start the analyser: %w", err), pool.Close())
	}
	done = func() error { return errors.Join(s.Close(), pool.Close()) }
	return func(book *policies.Book, q request.Query) (audit.Reading, error) {
		if r := analyse.CheckText(q.SQL); r != nil {
			return audit.Reading{Reason: r}, nil
		}
		payload, err := json.Marshal(engine.AnalyseRequest{Op: engine.AnalyseSyntax, SQL: q.SQL})
		if err != nil {
			return audit.Reading{}, texts.Errorf("failed to encode analyser request: %w", err)
		}
		ast, err := s.Call(ctx, "auditor", payload)
		if err != nil {
			return audit.Reading{}, err
		}
		var schemas []algebra.Schema
		for _, id := range book.Datasets() {
			e, _ := book.Dataset(id)
			schema, err := e.Schema()
			if err != nil {
				return audit.Reading{}, err
			}
			schemas = append(schemas, schema)
		}
		query, parts, r := analyse.Read(bytes.Clone(ast), q.SQL, schemas, q.Parameters)
		if r != nil || parts.Post != nil && parts.Core == nil {
			return audit.Reading{Reason: r}, nil
		}
		core := algebra.Canonicalise(query).Core
		return audit.Reading{Core: &core}, nil
	}, done, nil
}

// disclosureMemory is what the analyser of disclosed texts may take.
const disclosureMemory = 512 << 20
