package entry

// KindRisk is the assessment of a snapshot's re-identification risk.
const KindRisk Kind = "risk.assessed"

// Risk is the verdict of an assessment (GB/T 42460-2023). What depends on the data
// beyond the verdict and the level stands here as a salted commitment only; the
// department has the figures.
type Risk struct {
	Dataset   string   `json:"dataset"`
	Snapshot  string   `json:"snapshot"`
	Spec      string   `json:"spec"` // policies.Entry.SpecDigest of the snapshot
	Quasi     []string `json:"quasi"`
	Sensitive []string `json:"sensitive"`
	Model     string   `json:"model"`
	Context   string   `json:"context"` // context risk, a decimal 0…1
	Least     int64    `json:"least"`   // least class size of the model
	Overall   string   `json:"overall"` // greatest overall risk
	Level     string   `json:"level"`   // L2…L4
	Within    bool     `json:"within"`  // meets the model
	Figures   string   `json:"figures"` // OpenCommit of the figures
}
