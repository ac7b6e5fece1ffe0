// Package points lists every place where the product changes the disk and what
// becomes of it when that fails there. Tests alone import it: one over the source
// holds it against the code, others let each point fail, and docs/faults.md shows it.
package points

// Point is a step that changes the disk. A test lets it fail before it is done, and
// after it was done.
type Point struct {
	Name string
	// Test lets it fail both ways.
	Test string
	// What is left after a restart.
	ZH, EN string
}

// Exemption is a write that needs no failure point.
type Exemption struct {
	Site   string // file:function:call
	Reason string
}

// The tests that let points fail.
const (
	process  = "TestR29_FaultAtEveryPoint" // a gateway in a process of its own, which dies there or goes on with an error
	creation = "TestFaultDuringCreation"
	cosigned = "TestFaultOfWitnessedCheckpoint"
	repair   = "TestFaultDuringRepair"
	witness  = "TestFaultAtEveryWriteOfAWitness"
	making   = "TestFaultWhileAWitnessIsMade"
	alerts   = "TestR33_FaultOfTheJournal"
	backups  = "TestR35_FaultAtEveryStepOfABackup"
	states   = "TestR33_FaultWhileWriting"
	models   = "TestR29_FaultOfWhatIsKeptOfAModel"
	access   = "TestFaultAtEveryStepOfTheLog"
	turning  = "TestR34_RotationAndCrash"
	leaving  = "TestR36_DestroyAndCrash"
	ca       = "TestR34_AuthorityAndCrash"
	rounds   = "TestR39_FaultOfTheJournalOfRounds"
)

// three are the steps by which a file is replaced.
func three(name, test, zh, en string) []Point {
	return []Point{{name + ".write", test, zh, en}, {name + ".rename", test, zh, en}, {name + ".syncdir", test, zh, en}}
}

func join(lists ...[]Point) (out []Point) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// All are the failure points of the product.
var All = join(
	[]Point{
		{"wal.write", process, "网关停止接受写入，调用得到“结果未知”；重启后以同一 request_id 重试即得结果，只扣一次", "the gateway takes nothing more, callers are told the outcome is unknown; after a restart the same request_id gives it, paid for once"},
		{"wal.sync", process, "同上；落盘而未确认的条目在重启后生效", "the same; an entry that reached the disk unacknowledged counts after the restart"},
		{"wal.mend", process, "启动失败；再次启动即切除残尾", "the start fails; the next one cuts the torn tail off"},
		{"wal.rewrite", repair, "启动失败；再次启动即重写末尾", "the start fails; the next one writes the end again"},
		{"wal.resync", process, "启动失败；再次启动即同步", "the start fails; the next one syncs"},
		{"integrate", process, "网关停止接受写入；重启后由预写文件补齐瓦片", "the gateway takes nothing more; a restart fills the tiles from the write-ahead file"},
		{"sign", process, "本次检查点不发布，稍后再签；账本照常", "this checkpoint is not published, a later one is; the ledger goes on"},
	},
	three("wal.create", creation, "创建失败，没有半个账本；再次启动即创建", "the creation fails and leaves no half ledger; the next start creates it"),
	three("guard", process, "本次检查点不签发，稍后再签；绝不签出两段历史", "this checkpoint is not signed, a later one is; two histories are never signed"),
	three("witnessed", cosigned, "见证签名留在内存并重试；重启后重新征集", "the cosignatures stay in memory and are tried again; after a restart they are asked for anew"),
	three("release", process, "作业以 EXECUTION_FAILED 结束，或重启后重试；没有条目的结果文件在启动时删除", "the job ends as EXECUTION_FAILED, or is tried again after a restart; a release without an entry is removed at start"),
	three("post", process, "同结果文件", "as a release"),
	three("cells", process, "同结果文件；精确模式的记录没有条目即删除", "as a release; a record of exact mode without an entry is removed"),
	three("cells.key", process, "同上", "the same"),
	[]Point{
		{"release.drop", process, "未提交的结果文件留到下次启动删除，从不提供", "a release that was not committed stays until the next start and is never served"},
		{"post.drop", process, "同上", "the same"},
		{"cells.drop", process, "同上", "the same"},
		{"release.sweep", process, "未提交的结果文件留到下次启动删除，从不提供", "a release that was not committed stays until the next start and is never served"},
		{"cells.sweep", process, "启动失败；再次启动继续清理", "the start fails; the next one goes on"},
		{"access.write", process, "该行不写入访问日志并记错误；日志链不断", "the line is not in the access log, which an error says; the chain stays whole"},
		{"access.head", access, "当日文件由下一行重新开始", "the day's file is begun again by the next line"},
		{"access.sync", process, "本次心跳不记访问日志头；下一次补上", "this heartbeat is not written; the next one covers what it would have"},
		{"access.mend", process, "启动失败，或残行留到下一行再切除", "the start fails, or the torn line is cut off before the next one"},
		{"access.torn", process, "启动失败；再次启动即删除没有首行的文件", "the start fails; the next one removes the file that has no first line"},
		{"access.expire", access, "过期文件留到次日再删", "the expired file stays until another day begins"},
		{"snapshot.seal", process, "入库失败，旧快照继续生效；残留在启动时销毁", "the ingest fails and the old snapshot stands; what is left is destroyed at start"},
		{"snapshot.replace", process, "同上", "the same"},
		{"snapshot.rename", process, "同上", "the same"},
		{"store.syncdir", process, "同上；销毁则由账本条目在启动时完成", "the same; a destruction is finished at start, by its entry"},
		{"key.write", process, "入库或换钥失败；旧密钥仍可用", "the ingest or rotation fails; the old key opens"},
		{"key.link", process, "换钥中断；启动时或同一命令继续", "the rotation breaks off; the start or the same command carries it on"},
		{"key.rename", process, "同上", "the same"},
		{"key.stray", process, "同上", "the same"},
		{"key.overwrite", process, "销毁或换钥中断；启动时完成", "the destruction or rotation breaks off; the start finishes it"},
		{"key.remove", process, "同上", "the same"},
		{"pointer.remove", process, "销毁中断；启动时按账本完成", "the destruction breaks off; the start finishes it, by the ledger"},
		{"snapshot.bury", process, "同上", "the same"},
		{"store.empty", process, "同上", "the same"},
		{"store.sweep", process, "启动失败；再次启动继续清理", "the start fails; the next one goes on"},
	},
	three("pointer", process, "入库失败或已生效；账本与快照在启动时对齐", "the ingest fails or counts; ledger and snapshots are brought together at start"),
	three("home", process, "换钥中断；旧密钥环或新密钥环完整，同一命令继续", "the rotation breaks off; the old or the new keyring is whole, the same command carries on"),
	[]Point{
		{"log.announced", turning, "签名钥更换中断；同一命令继续", "the change of the log's key breaks off; the same command carries it on"},
		{"log.checkpoint", turning, "同上", "the same"},
		{"erase.entry", turning, "旧密钥在启动时销毁", "the old key is erased at start"},
		{"erase.key", turning, "同上", "the same"},
		{"ca.retired", ca, "证书机构更换中断；启动时完成", "the change of the authority breaks off; the start finishes it"},
		{"destroy.entry", leaving, "没有条目即没有销毁；有条目则启动时完成", "without an entry nothing is destroyed; with one the start finishes it"},
		{"destroy.erase", leaving, "启动时完成销毁", "the start finishes the destruction"},
		{"rounds.write", rounds, "节点中止本轮，不交出任何份额；重启后可参加新的轮次", "the node ends the round and gives no share; after a restart it takes part in new ones"},
		{"rounds.sync", rounds, "同上；落盘的记录在重启后生效，该轮次不再作答", "the same; a record that reached the disk counts after the restart, and its round is not answered again"},
		{"rounds.mend", rounds, "节点启动失败；再次启动即切除残行", "the node's start fails; the next one cuts the torn line off"},
		{"rounds.syncdir", rounds, "节点启动失败；再次启动即同步", "the node's start fails; the next one syncs"},
		{"alert.write", alerts, "预警在重启后以同一编号再投递一次", "after a restart the alert comes again under the same id"},
		{"alert.sync", alerts, "同上", "the same"},
		{"alert.mend", alerts, "启动失败；再次启动即切除残行", "the start fails; the next one cuts the torn line off"},
	},
	three("mail", alerts, "邮件稍后以同一编号重写；从无半封", "the message is written again under the same id; never half of one"),
	three("backup", backups, "备份失败；没有清单即不是备份，再次运行即可", "the backup fails; without its list it is none; run it again"),
	[]Point{
		{"backup.remove", backups, "旧备份留到下次清理", "old backups stay until they are removed again"},
		{"backup.remove.syncdir", backups, "同上", "the same"},
		{"restore.file", backups, "恢复失败，目标目录不存在", "the restoration fails and its home does not come to be"},
		{"restore.tail", backups, "同上", "the same"},
		{"restore.rename", backups, "恢复失败，或目录完整而未获确认，不得启动", "the restoration fails, or the home is whole and unconfirmed, and does not serve"},
		{"restore.syncdir", backups, "同上", "the same"},
		{"restored.remove", backups, "确认条目已在账本；再次启动即除去标记", "the confirmation is in the ledger; the next start takes the mark away"},
		{"restored.syncdir", backups, "同上", "the same"},
		{"witness.key", making, "见证方创建失败；清空目录后重来", "the witness is not created; empty the directory and create it again"},
		{"witness.event", witness, "该行不入事件日志；证据文件另存", "the line is not among the events; evidence has files of its own"},
	},
	three("witness", witness, "不签名；重启后从磁盘上的状态继续，绝不倒退", "nothing is cosigned; after a restart it goes on from what is on the disk, never back"),
	three("witness.known", witness, "新账本不被承认，稍后再试", "the log is not taken up; try again"),
	three("alarm", witness, "拒绝照旧；证据未存即答复错误，再来时再存", "the refusal stands; evidence that was not kept is an error, and is kept when it comes again"),
	[]Point{
		{"state.record", states, "状态快照没有账本条目即不采用；再次启动用上一份或全部重放", "a state snapshot without its entry is not taken; the start uses the one before, or replays everything"},
		{"state.prune", states, "旧状态快照留到下次清理", "old state snapshots stay until the next one is written"},
	},
	three("state.segment", states, "没有新的状态快照；再次启动用上一份或全部重放", "there is no new state snapshot; the start uses the one before, or replays everything"),
	three("state.head", states, "同上", "the same"),
	three("model.key", models, "模型作业失败，未读取数据；费用保持扣减", "the model job fails before data is read; its price stays debited"),
	three("model", models, "模型作业失败，或重启后继续；没有条目的参数从不交付", "the model job fails, or goes on after a restart; parameters without an entry are never handed out"),
	[]Point{
		{"model.answer", models, "该次加噪汇总未被使用；重启后采用已落盘的，或重新作答，费用只扣一次", "the noised sums were used by nobody; after a restart those on the disk count, or the pass is answered anew, paid for once"},
		{"model.mend", models, "模型作业失败；重启后切除残尾", "the model job fails; after a restart the torn tail is cut off"},
		{"model.drop", models, "密钥已先销毁，残留不可读，启动时删除", "the key was destroyed first: what stays cannot be read and goes at the next start"},
	},
)
