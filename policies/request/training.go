package request

// Trainings of models over domains 跨域模型.
const (
	// MethodTrain has a model trained over domains by aggregation rounds; terms region,
	// period and what is asked for of scheme, domains, seconds and retries, and the
	// specification in the body. One signed request covers every round of the training.
	MethodTrain = "round.train"
	// MethodCancelTraining ends it; terms training.
	MethodCancelTraining = "round.cancel_training"
)

// Terms of a training.
const (
	TermTraining = "training" // training id
	TermRetries  = "retries"  // how many failed rounds are made up for; absent for the default
)

// TrainFields is the body of a training: its specification, which ledgers show. It is
// committed to without a salt.
func TrainFields(specification string) []Field {
	return []Field{{"specification", specification}}
}
