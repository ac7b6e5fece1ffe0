package points

// Reasons that hold for more than one write.
const (
	startup  = "a directory or lock of the start: when it cannot be made, the start fails with the reason and nothing has happened"
	opens    = "opens a file whose writes, syncs and renames stand under a failure point; created and empty it is as if missing"
	copied   = "a copy for an auditor, checked whole before anybody relies on it"
	cleaning = "removes what nothing depends on; what stays is removed at the next start"
	restored = "inside a directory that becomes a home by one rename when all is done"
	inner    = "the inside of the door itself"
)

// Exempt are the writes that stand under no failure point.
var Exempt = []Exemption{
	{"compute/engine/duckdb/stage.go:flush:WriteAt", "memory of a jailed worker: an anonymous file"},
	{"compute/engine/keys.go:overwrite:os.Chmod", "makes a read-only file writable for the step that follows; harmless alone"},
	{"compute/engine/keys.go:overwrite:os.OpenFile", opens},
	{"compute/engine/lock.go:lockFile:os.OpenFile", startup},
	{"compute/engine/prune.go:Prune:os.Remove", cleaning},
	{"compute/engine/store.go:OpenStore:os.MkdirAll", startup},
	{"compute/engine/store.go:commit:os.RemoveAll", cleaning},
	{"compute/engine/store.go:sealFile:os.OpenFile", opens},
	{"compute/engine/store.go:stage:os.MkdirTemp", "a staging directory, which the next start destroys"},
	{"compute/engine/store.go:sweep:os.MkdirAll", startup},
	{"compute/engine/store.go:writeSync:os.OpenFile", opens},
	{"compute/engine/volume.go:create:unix.Fallocate", "a nameless file for opened snapshots, which goes with the process"},
	{"compute/engine/volume.go:nameless:unix.Open", "a nameless file for opened snapshots, which goes with the process"},
	{"gateway/alert/alert.go:add:Truncate", "takes back what a failed alert.write left; the start does so too"},
	{"gateway/alert/alert.go:openJournal:os.MkdirAll", startup},
	{"gateway/alert/alert.go:openJournal:os.OpenFile", opens},
	{"gateway/alert/mail.go:newMail:os.MkdirAll", startup},
	{"gateway/backup/restore.go:Restore:os.MkdirAll", restored},
	{"gateway/backup/restore.go:Restore:os.MkdirTemp", restored},
	{"gateway/backup/restore.go:Restore:os.RemoveAll", restored},
	{"gateway/backup/restore.go:extract:os.MkdirAll", restored},
	{"gateway/backup/restore.go:extract:os.OpenFile", restored},
	{"gateway/backup/restore.go:extract:os.Remove", restored},
	{"gateway/backup/restore.go:moveInto:os.Remove", restored},
	{"gateway/backup/restore.go:restore:os.MkdirAll", restored},
	{"gateway/backup/restore.go:restore:os.RemoveAll", restored},
	{"gateway/backup/restore.go:takeTail:os.OpenFile", restored},
	{"gateway/backup/store.go:prepare:os.MkdirAll", startup},
	{"gateway/backup/store.go:writeDurable:os.MkdirAll", startup},
	{"gateway/exact.go:sweepCells:os.MkdirAll", startup},
	{"gateway/home/home.go:Create:os.MkdirAll", startup},
	{"gateway/home/kit.go:NewKitWithKey:os.MkdirAll", startup},
	{"gateway/regulator.go:CopyLedger:os.MkdirTemp", copied},
	{"gateway/regulator.go:CopyLedger:os.RemoveAll", copied},
	{"internal/durable/durable.go:Write:os.CreateTemp", inner},
	{"internal/durable/durable.go:Write:os.Remove", inner},
	{"ledger/accesslog/accesslog.go:Open:os.MkdirAll", startup},
	{"ledger/accesslog/accesslog.go:begin:os.OpenFile", opens},
	{"ledger/guard.go:openGuard:os.MkdirAll", startup},
	{"ledger/guard.go:openGuard:os.OpenFile", startup},
	{"ledger/ledger.go:open:os.MkdirAll", startup},
	{"ledger/verify/copy.go:Copy:os.Mkdir", copied},
	{"ledger/verify/copy.go:Copy:os.WriteFile", copied},
	{"ledger/verify/copy.go:copyTile:os.MkdirAll", copied},
	{"ledger/verify/copy.go:copyTile:os.WriteFile", copied},
	{"ledger/verify/copy.go:copyWAL:os.Create", copied},
	{"ledger/wal/file.go:open:os.OpenFile", opens},
	{"ledger/wal/file.go:syncDir:Sync", inner},
	{"ledger/wal/file.go:writeSynced:Sync", inner},
	{"ledger/wal/file.go:writeSynced:os.OpenFile", inner},
	{"ledger/witness/witnessd/events.go:keepAlarm:os.MkdirAll", startup},
	{"ledger/witness/witnessd/events.go:recordLocked:os.OpenFile", opens},
	{"ledger/witness/witnessd/events.go:recordLocked:os.Rename", "keeps the log of events from growing; evidence is not in it"},
	{"ledger/witness/witnessd/home.go:Create:os.Mkdir", startup},
	{"ledger/witness/witnessd/home.go:Create:os.MkdirAll", startup},
	{"ledger/witness/witnessd/home.go:Create:os.OpenFile", opens},
	{"ledger/witness/witnessd/home.go:Open:os.OpenFile", startup},
	{"ledger/statefile/statefile.go:Write:os.MkdirAll", startup},
	{"ledger/statefile/statefile.go:prune:os.Remove", inner},
	{"gateway/model_store.go:openModelLocked:os.MkdirAll", startup},
	{"gateway/model_store.go:answers:os.OpenFile", opens},
	{"gateway/model_store.go:sweepModels:os.MkdirAll", startup},
	{"gateway/model_run.go:certifyModel:os.Remove", cleaning},
	{"gateway/model_store.go:sweepModels:os.Remove", cleaning},
}
