package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model/encrypted"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/ledger/entry"
)

// scoreEncrypted has rows scored that the gateway never sees: they are coded and
// encrypted here, and the sums that come back are decrypted here.
func (a *app) scoreEncrypted(ctx context.Context, cl *client.Client, name string, columns []string, rows [][]string) (heads []string, out [][]string, err error) {
	schema, err := cl.Inputs(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if _, err := engine.CodeRows(schema, columns, rows); err != nil { // all of them, before one is counted
		return nil, nil, rowsAtFault(err, schema.Features, columns)
	}
	for part := range slices.Chunk(rows, encrypted.BlockRows) {
		coded, err := engine.CodeRows(schema, columns, part)
		if err != nil {
			return heads, out, rowsAtFault(err, schema.Features, columns)
		}
		begun := time.Now()
		step, done := a.progress(a.t("加密", "encrypting"))
		call, err := cl.Encrypt(name, schema, coded, func(n, of int) { step(int64(n * len(part) / of)) })
		done()
		if err != nil {
			return heads, out, err
		}
		a.note("已加密 %d 行 × %d 个输入（%.1f MB，%.1f 秒）", "%d rows × %d inputs encrypted (%.1f MB, %.1f s)", len(part), len(call.Parts), float64(len(call.Parts)+1)*encrypted.PartBytes/1e6, time.Since(begun).Seconds())
		got, err := cl.ScoreEncrypted(ctx, call)
		if err != nil {
			return heads, out, err
		}
		if len(got.Sums) != len(part)*schema.Outputs() {
			return heads, out, errors.New(a.t("网关答复的输出个数与模型不符", "the gateway's answer has another number of outputs than the model"))
		}
		shown := engine.ShowScores(schema, got.Sums)
		heads, out = shown.Columns, append(out, shown.Rows...)
		a.note("已打分 %d 行；本月还可打分 %d 行（账本第 %d 条）", "%d rows scored; %d more may be this month (ledger entry %d)", len(out), got.Left, got.Receipt.GetSeq())
	}
	return heads, out, nil
}

// scoredSummary is a line about an entry that counts rows.
func scoredSummary(s *entry.ModelScored, rows, encrypted string) string {
	line := fmt.Sprintf("%s %d %s", s.Model, s.Rows, rows)
	if s.Encrypted {
		line += " " + encrypted
	}
	return line
}
