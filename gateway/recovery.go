package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
)

// errUnconfirmed is a restored home that may not serve yet.
type errUnconfirmed struct{ mark *home.Restored }

func (e *errUnconfirmed) Error() string {
	return fmt.Sprintf("this home was restored from %s and its ledger ends after %d entries (root %s); whether later entries existed cannot be seen here, and serving would give back what they spent. "+
		"If there is a later copy of the ledger, restore again with --ledger-tail; then have the regulator run: sandgate backup confirm --home %s, and start with --recovery FILE"+
		" · 本目录由备份恢复，账本止于第 %d 条；若有更新的账本副本，请用 --ledger-tail 重新恢复，再由主管部门执行 sandgate backup confirm，并以 --recovery 启动",
		e.mark.Backup, e.mark.Size, e.mark.Root, "HOME", e.mark.Size)
}

// confirmRestored lets a home that was restored from a backup serve only under the
// regulator's confirmation, which is ledgered before anything else.
func (d *Domain) confirmRestored(ctx context.Context) error {
	mark, err := d.home.Restored()
	if err != nil || mark == nil {
		return err
	}
	var known bool
	d.log.View(func() { known = d.state.Restoration(mark.Home) })
	if known {
		// A crash came between the entry and the mark.
		return d.home.Confirmed()
	}
	if len(d.opt.Recovery) == 0 {
		return &errUnconfirmed{mark}
	}
	if mark.Size == 0 {
		return errors.New("the restoration of this home was broken off: restore it again")
	}
	f, err := os.Open(ledger.WriteAheadFile(d.home.Ledger()))
	if err != nil {
		return fmt.Errorf("failed to open the ledger: %w", err)
	}
	defer f.Close()
	log, err := ledger.ReadWriteAhead(f, nil)
	if err != nil {
		return err
	}
	if log.Tree.Size != mark.Size || hex.EncodeToString(log.Tree.Root[:]) != mark.Root {
		return errors.New("the ledger is not the one that was restored: restore the home again")
	}
	deflated, err := state.Deflate(d.opt.Recovery)
	if err != nil {
		return err
	}
	body := &entry.Restored{Home: mark.Home, Size: mark.Size, Root: mark.Root, Confirmation: deflated}
	if _, err := d.append(ctx, func(e *entry.Entry) error {
		if _, err := d.state.CheckRestored(body); err != nil {
			return err
		}
		e.Kind, e.Actor, e.Restored = entry.KindRestored, "gateway", body
		return nil
	}); err != nil {
		return fmt.Errorf("failed to accept the confirmation: %w", err)
	}
	return d.home.Confirmed()
}
