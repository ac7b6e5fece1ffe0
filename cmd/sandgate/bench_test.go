package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
)

// startDemo runs the real binary's demo on a small city and returns its
// directory once it serves. It is skipped without SANDGATE_BIN.
func startDemo(b *testing.B) string {
	bin := os.Getenv("SANDGATE_BIN")
	if bin == "" {
		b.Skip("SANDGATE_BIN names no binary; run: make bench")
	}
	dir := filepath.Join(b.TempDir(), "demo")
	cmd := exec.Command(bin, "demo", "--residents", "20000", "--lang", "en", "--dir", dir, "--assets", filepath.Join("..", "..", "testdata", "city"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
			b.Log(err)
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "ledger copy") {
			go func() {
				for lines.Scan() {
				}
			}()
			return dir
		}
	}
	b.Fatal("the demo ended before it served")
	return ""
}

// BenchmarkSubmit measures submit → released answer through the real binary:
// mTLS, analysis, gate, durable reservation, a jailed one-job worker, the release
// kernel and the durable commit.
func BenchmarkSubmit(b *testing.B) {
	dir := startDemo(b)
	for _, bench := range []struct{ name, operator, licence, purpose, sql string }{
		{"exact", "beta", "beta-2026", "industry_research", "SELECT COUNT(*) AS n FROM enterprises WHERE employees > %d"},
		{"dp", "alpha", "alpha-2026", "urban_planning", "SELECT district, COUNT(*) AS n FROM population WHERE birth_date > %d GROUP BY district"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			kit, err := home.OpenKit(filepath.Join(dir, "kits", bench.operator))
			if err != nil {
				b.Fatal(err)
			}
			c, err := client.Dial(kit, "")
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			var took []time.Duration
			for b.Loop() {
				begin := time.Now()
				_, err := c.Run(context.Background(), &sandgatev1.SubmitJobRequest{RequestId: uuid.NewString(), Query: &sandgatev1.QuerySpec{
					Licence: bench.licence, Purpose: bench.purpose, PriceNanoRho: 2000, Sql: fmt.Sprintf(bench.sql, begin.UnixNano()%1_000_000_007),
				}})
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
				// One operator's think time: the pool refills behind it.
				time.Sleep(30 * time.Millisecond)
			}
			slices.Sort(took)
			ms := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))].Microseconds()) / 1000 }
			b.ReportMetric(ms(0.5), "p50-ms")
			b.ReportMetric(ms(0.99), "p99-ms")
		})
	}
}
