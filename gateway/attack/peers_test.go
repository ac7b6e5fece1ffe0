package attack

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
)

// The six models' designs and rows, for the same attack by another implementation
// (bench/models/run.sh): nothing is tested here.
func TestPeers_SixModelsAreWritten(t *testing.T) {
	dir := os.Getenv("SANDGATE_PEERS")
	if dir == "" {
		t.Skip("bench/models/run.sh names a folder in SANDGATE_PEERS")
	}
	for i, m := range six() {
		e := residents(m.offices)
		d, err := model.NewDesign(m.spec, e)
		if err != nil {
			t.Fatal(err)
		}
		data, members := gate.Together(settled(t, d, e, m.units, 7+uint64(i)))
		rows := make([][]float64, data.Rows())
		for r := range rows {
			for f := range d.Features {
				v := float64(data.Bins[f][r])
				if data.Values[f] != nil {
					v = float64(data.Values[f][r])
				}
				rows[r] = append(rows[r], v)
			}
		}
		text, err := json.Marshal(map[string]any{"name": m.name, "design": d, "rows": rows, "label": data.Label, "member": members, "expected": m.reasons})
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, strconv.Itoa(i+1)+".six.json"), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
