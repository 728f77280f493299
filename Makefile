# A thin face on packaging/bootstrap.py, which does the same on Windows: py packaging/bootstrap.py demo
PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help demo test app model check bench verify gpu

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: ## set up, audit the demo pair, write build/demo/scorecard.pdf (OUT=DIR for another place)
	@OUT="$(OUT)" $(PYTHON) packaging/bootstrap.py demo
test: ## set up, check and run the tests
	@$(PYTHON) packaging/bootstrap.py test
app: ## open the window
	@$(PYTHON) packaging/bootstrap.py app
model: ## fetch the small real model (93 MB)
	@$(PYTHON) packaging/bootstrap.py model
check: ## style, types and import contracts
	@$(PYTHON) packaging/bootstrap.py check
bench: ## the benchmarks, one after another
	@$(PYTHON) packaging/bootstrap.py bench
verify: ## the long tests, verdicts where the truth is known, the zoo (hours, resumable)
	@$(PYTHON) packaging/bootstrap.py verify
gpu: ## what needs an NVIDIA GPU
	@$(PYTHON) packaging/bootstrap.py gpu
