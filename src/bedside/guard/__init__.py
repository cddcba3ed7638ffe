"""What is looked for beside the model, by rules that a person can read: emergencies in a case text."""
