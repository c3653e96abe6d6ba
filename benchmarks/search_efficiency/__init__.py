"""How many epochs samplers and pruners need, measured on recorded learning curves of this model.

    python -m benchmarks.search_efficiency.record meshhead --out benchmarks/search_efficiency/meshhead.jsonl
    python -m benchmarks.search_efficiency benchmarks/search_efficiency/meshhead.jsonl

`record` trains random configurations to the end and keeps their curves, `replay` lets studies search among them.
"""
