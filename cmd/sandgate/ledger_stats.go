package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/verify"
	"github.com/sandgate/sandgate/ledger/wal"
	"github.com/sandgate/sandgate/policies"
)

// ledgerStats is what a ledger holds and occupies. Sizes are bytes.
type ledgerStats struct {
	Origin      string      `json:"origin"`
	Entries     uint64      `json:"entries"`
	Unpublished uint64      `json:"unpublished"`
	First       time.Time   `json:"first,omitzero"`
	Last        time.Time   `json:"last,omitzero"`
	PerDay      float64     `json:"entries_per_day"`
	Kinds       []kindStats `json:"kinds"`
	Parts       []partStats `json:"parts"`
	// PerYear is what a year at this rate adds on disk.
	PerYear int64       `json:"bytes_per_year"`
	State   *stateStats `json:"state,omitempty"`
}

type kindStats struct {
	Kind    entry.Kind `json:"kind"`
	Entries int        `json:"entries"`
	Bytes   int64      `json:"bytes"`
}

type partStats struct {
	Part  string `json:"part"` // entries, tiles, partial, write-ahead, other
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
}

func (a *app) ledgerStatsCmd() *cobra.Command {
	var dir, trust string
	c := &cobra.Command{
		Use:   "stats --ledger DIR",
		Short: "账本规模：记录、类型、占用、增速 · what a ledger holds, occupies and grows by",
		Long: `校验账本副本的哈希与检查点（不重放），统计记录、类型与磁盘占用。账本从不删除；partial 是未满的瓦片，满后由网关每分钟清理。
Checks hashes and checkpoint of a copied ledger, without a replay, and counts entries, kinds and bytes on disk. Nothing
ever deletes the ledger; partial tiles are removed by the gateway, within a minute of the full one.`,
		Example: "  sandgate ledger stats --ledger ./ledger-copy --trust ./kits/data_bureau/trust.json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			opt, err := auditOptions(trust, nil, nil)
			if err != nil {
				return err
			}
			st, err := statsOf(c, dir, opt.Trust)
			if err != nil {
				return err
			}
			return a.ledgerStats(st)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "ledger", "", "账本副本目录 directory of a copied ledger")
	f.StringVar(&trust, "trust", "", "信任文件 trust.json from the regulator's kit")
	require(c, "ledger", "trust")
	return c
}

func statsOf(c *cobra.Command, dir string, trust *audit.Trust) (*ledgerStats, error) {
	verifier, err := audit.Keys(c.Context(), dir, trust.LogKey)
	if err != nil {
		return nil, texts.Errorf("failed to read the log's verifier key: %w", err)
	}
	kinds := map[entry.Kind]*kindStats{}
	st := &ledgerStats{}
	var first, last int64
	res, err := verify.Dir(c.Context(), dir, verifier, func(seq uint64, text []byte) error {
		e, err := entry.Decode(text)
		if err != nil {
			return texts.Errorf("entry %d: %w", seq, err)
		}
		if kinds[e.Kind] == nil {
			kinds[e.Kind] = &kindStats{Kind: e.Kind}
		}
		st.recorded(e)
		kinds[e.Kind].Entries++
		kinds[e.Kind].Bytes += int64(len(text))
		if last = e.At; seq == 0 {
			first = e.At
		}
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	st.Origin, st.Entries, st.Unpublished = res.Origin, res.Size, res.Unpublished
	for _, k := range kinds {
		st.Kinds = append(st.Kinds, *k)
	}
	slices.SortFunc(st.Kinds, func(x, y kindStats) int { return cmp.Or(cmp.Compare(y.Bytes, x.Bytes), cmp.Compare(x.Kind, y.Kind)) })
	total, err := st.measure(dir)
	if err != nil {
		return nil, err
	}
	if len(kinds) > 0 {
		st.First, st.Last = time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
	}
	// Less than a day says nothing about a year.
	if days := st.Last.Sub(st.First).Hours() / 24; days >= 1 {
		st.PerDay = float64(st.Entries+st.Unpublished) / days
		st.PerYear = int64(float64(total) / days * 365)
	}
	return st, nil
}

// measure adds up the files by what they are and returns the bytes of all.
func (st *ledgerStats) measure(dir string) (total int64, err error) {
	parts := map[string]*partStats{}
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		part := "other"
		switch {
		case strings.Contains(name, ".p/"):
			part = "partial"
		case strings.HasPrefix(name, "tile/entries/"):
			part = "entries"
		case strings.HasPrefix(name, "tile/"):
			part = "tiles"
		case name == wal.FileName:
			part = "write-ahead"
		}
		if parts[part] == nil {
			parts[part] = &partStats{Part: part}
		}
		parts[part].Files++
		parts[part].Bytes += info.Size()
		total += info.Size()
		return nil
	})
	if err != nil {
		return 0, texts.Errorf("failed to measure ledger: %w", err)
	}
	for _, part := range []string{"entries", "tiles", "partial", "write-ahead", "other"} {
		if p := parts[part]; p != nil {
			st.Parts = append(st.Parts, *p)
		}
	}
	return total, nil
}

func (a *app) ledgerStats(st *ledgerStats) error {
	if a.format == "json" {
		return a.json(st)
	}
	a.say("账本 %s：%d 条记录，另有 %d 条尚未发布；%s 至 %s", "ledger %s: %d entries, %d more not yet published; %s to %s", st.Origin, st.Entries, st.Unpublished,
		policies.Clock(st.First), policies.Clock(st.Last))
	if st.PerYear > 0 {
		a.say("每日 %.0f 条，按此一年增加 %d MiB", "%.0f entries a day; a year at this rate adds %d MiB", st.PerDay, st.PerYear>>20)
	}
	a.stateStats(st.State)
	var kinds, parts [][]string
	for _, k := range st.Kinds {
		kinds = append(kinds, []string{string(k.Kind), strconv.Itoa(k.Entries), itoa(k.Bytes), itoa(k.Bytes / int64(k.Entries))})
	}
	for _, p := range st.Parts {
		parts = append(parts, []string{p.Part, strconv.Itoa(p.Files), itoa(p.Bytes)})
	}
	printTable(a.out, []string{a.t("类型", "kind"), a.t("记录", "entries"), a.t("字节", "bytes"), a.t("均长", "mean")}, kinds, 1, 2, 3)
	printTable(a.out, []string{a.t("部分", "part"), a.t("文件", "files"), a.t("字节", "bytes")}, parts, 1, 2)
	return nil
}
