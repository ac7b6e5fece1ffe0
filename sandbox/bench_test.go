package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The engine's handlers in the gateway's own executable, which SANDGATE_BIN names.
// Its columns are numbers only, so that no code of the program is needed here.
const (
	executeHandler = "execute"
	ingestHandler  = "ingest"
)

func init() {
	for _, name := range []string{executeHandler, ingestHandler} {
		RegisterWith(name, Registration{Writes: name == ingestHandler,
			Handler: func(context.Context, []byte, []*os.File, func([]byte) error) error {
				return errors.New("not in this executable")
			}})
	}
}

var benchLimits = Limits{Wall: time.Minute, Memory: 1 << 30, Result: 1 << 20, Threads: 1}

// benchPools are pools of the real binary with the jail off, in the container
// tier, in full, and in full without the filter.
func benchPools(b *testing.B) map[string]*Pool {
	b.Helper()
	bin := os.Getenv("SANDGATE_BIN")
	if bin == "" {
		b.Skip("SANDGATE_BIN names no binary; run: make bench")
	}
	pools := map[string]*Pool{}
	for name, set := range map[string]layer{"off": 0, "container": layersContainer, "full": layersFull, "no-seccomp": layersFull &^ layerSeccomp} {
		tier := TierFull
		if set == 0 {
			tier = tierNone
		}
		p, err := newPool(Config{Tier: tier, Executable: bin, Limits: benchLimits})
		if err != nil {
			b.Fatal(err)
		}
		p.set = set
		b.Cleanup(func() { _ = p.Close() })
		pools[name] = p
	}
	return pools
}

// figures gathers durations and reports their minimum and median.
type figures map[string][]float64

func (f figures) add(name string, v float64) { f[name] = append(f[name], v) }

func (f figures) report(b *testing.B, unit string) {
	for name, v := range f {
		slices.Sort(v)
		b.ReportMetric(v[0], name+"-min-"+unit)
		b.ReportMetric(v[len(v)/2], name+"-p50-"+unit)
	}
}

func (f figures) middle(name string) float64 {
	slices.Sort(f[name])
	return f[name][len(f[name])/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// BenchmarkCold is spawn → READY and verified of the engine's worker, with the jail
// off, in both tiers, interleaved; cost is full minus off of the minima, which the
// machine's other work moves least.
func BenchmarkCold(b *testing.B) {
	pools := benchPools(b)
	took, private := figures{}, figures{}
	for b.Loop() {
		for _, name := range []string{"off", "container", "full"} {
			p := pools[name]
			begin := time.Now()
			proc, err := p.launch(context.Background(), executeHandler, p.limits.Memory, false, false)
			if err != nil {
				b.Fatal(err)
			}
			took.add(name, ms(time.Since(begin)))
			private.add(name, float64(privateMemory(proc.pid))/1024)
			p.retire(proc)
		}
	}
	took.report(b, "ms")
	b.ReportMetric(took["full"][0]-took["off"][0], "jail-min-ms")
	b.ReportMetric(private.middle("full"), "idle-private-MiB")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFirstByte is job → first byte on a worker that stands ready: a grouped
// sum over a snapshot of 100 000 rows.
func BenchmarkFirstByte(b *testing.B) {
	pools := benchPools(b)
	snapshot := benchSnapshot(b, pools["full"], 100_000)
	took := figures{}
	for b.Loop() {
		for _, name := range []string{"off", "container", "full"} {
			took.add(name, ms(query(b, pools[name], snapshot, nil)))
		}
	}
	took.report(b, "ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSeccompScan is the CPU time of a scan with the filter over that without,
// all else equal: twelve passes over a snapshot of a million rows.
func BenchmarkSeccompScan(b *testing.B) {
	pools := benchPools(b)
	snapshot := benchSnapshot(b, pools["full"], 1_000_000)
	cpu, ratio := figures{}, figures{}
	for b.Loop() {
		var pair []float64
		for _, name := range []string{"no-seccomp", "full"} {
			query(b, pools[name], snapshot, func(c time.Duration) { pair = append(pair, ms(c)) })
			cpu.add(name, pair[len(pair)-1])
		}
		ratio.add("seccomp", pair[1]/pair[0])
	}
	cpu.report(b, "cpu-ms")
	// Of neighbours in time: the machine's other work moves both.
	b.ReportMetric(ratio.middle("seccomp"), "seccomp-p50-ratio")
	b.ReportMetric(0, "ns/op")
}

// query runs the benchmark's statement in a fresh worker and returns the time to
// its first byte. cpu, when not nil, is told the CPU time of a heavier one.
func query(b *testing.B, p *Pool, snapshot *os.File, cpu func(time.Duration)) time.Duration {
	b.Helper()
	text := "SELECT a AS k0, COUNT(*) AS m0, SUM(n) AS m1 FROM d0.main.t WHERE _rn <= 6 GROUP BY ALL"
	if cpu != nil {
		one := strings.Replace(text, "d0.main.t", "d0.main.t WHERE n > %d AND", 1)
		one = strings.Replace(one, "AND WHERE", "AND", 1)
		var all []string
		for i := range 12 {
			all = append(all, fmt.Sprintf(one, i))
		}
		text = "SELECT k0, SUM(m0) AS m0, SUM(m1) AS m1 FROM (" + strings.Join(all, " UNION ALL ") + ") GROUP BY k0"
	}
	payload, err := json.Marshal(map[string]any{"sql": text, "schema": map[string]any{"keys": []any{map[string]any{"kind": "int"}}, "measures": 2, "max_cells": 1000}})
	if err != nil {
		b.Fatal(err)
	}
	again, err := os.Open(procOf(os.Getpid(), "fd/"+strconv.Itoa(int(snapshot.Fd()))))
	if err != nil {
		b.Fatal(err)
	}
	defer again.Close()
	// A session's worker outlives its job, so its CPU time can be read.
	proc, err := p.launch(context.Background(), executeHandler, p.limits.Memory, cpu != nil, false)
	if err != nil {
		b.Fatal(err)
	}
	defer p.retire(proc)
	before := cpuTime(b, proc.pid)
	var first time.Duration
	begin := time.Now()
	err = p.converse(context.Background(), proc, payload, []*os.File{again}, p.limits, func([]byte) error {
		if first == 0 {
			first = time.Since(begin)
		}
		return nil
	})
	if err != nil || first == 0 {
		b.Fatal(err)
	}
	if cpu != nil {
		cpu(cpuTime(b, proc.pid) - before)
	}
	return first
}

// cpuTime is what the threads of a process have run.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	files, _ := filepath.Glob(procOf(pid, "task/*/schedstat"))
	if len(files) == 0 {
		b.Fatal("no threads")
	}
	var total time.Duration
	for _, f := range files {
		raw, _ := os.ReadFile(f)
		if fields := strings.Fields(string(raw)); len(fields) > 0 {
			n, _ := strconv.ParseInt(fields[0], 10, 64)
			total += time.Duration(n)
		}
	}
	return total
}

// benchSnapshot has the binary's own ingest worker make a snapshot in memory.
func benchSnapshot(b testing.TB, p *Pool, rows int) *os.File {
	b.Helper()
	memory := func() *os.File {
		fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC)
		if err != nil {
			b.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "bench")
		b.Cleanup(func() { _ = f.Close() })
		return f
	}
	var raw bytes.Buffer
	raw.WriteString("id,a,n\n")
	for i := range rows {
		fmt.Fprintf(&raw, "%d,%d,%d\n", i/3, i*7919%50, i*104729%100000)
	}
	input := memory()
	if _, err := input.Write(raw.Bytes()); err != nil {
		b.Fatal(err)
	}
	if _, err := input.Seek(0, 0); err != nil {
		b.Fatal(err)
	}
	files := []*os.File{input}
	for range 7 {
		files = append(files, memory())
	}
	column := func(name string) map[string]any {
		return map[string]any{"name": name, "type": map[string]any{"kind": "int"}, "bounds": map[string]any{"lo": 0, "hi": 1 << 40}}
	}
	key := bytes.Repeat([]byte{1}, 32)
	payload, err := json.Marshal(map[string]any{
		"format": "csv", "keys": map[string]any{"unit": key, "rank": key, "pseudonym": key},
		"spec": map[string]any{"dataset": "bench", "unit_column": "id", "unit_kind": "record", "columns": []any{column("id"), column("a"), column("n")}},
	})
	if err != nil {
		b.Fatal(err)
	}
	done := false
	err = p.Run(context.Background(), Job{Handler: ingestHandler, Payload: payload, Files: files, Limits: benchLimits}, func(frame []byte) error {
		if bytes.Contains(frame, []byte(`"refusal"`)) {
			return fmt.Errorf("refused: %s", frame)
		}
		done = done || bytes.Contains(frame, []byte(`"summary"`))
		return nil
	})
	if err != nil || !done {
		b.Fatal("no snapshot: ", err)
	}
	return files[1]
}

// privateMemory is Private_Dirty of smaps_rollup in KiB: clean pages belong to the
// executable and are shared with other workers. An undumpable worker shows it to
// its parent alone.
func privateMemory(pid int) int64 {
	raw, err := os.ReadFile(procOf(pid, "smaps_rollup"))
	if err != nil {
		return -1
	}
	for line := range bytes.Lines(raw) {
		fields := strings.Fields(string(line))
		if len(fields) == 3 && fields[0] == "Private_Dirty:" {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n
		}
	}
	return -1
}
