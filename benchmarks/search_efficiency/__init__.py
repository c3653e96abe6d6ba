"""How many epochs samplers and pruners need, measured on recorded learning curves of this model.

    python -m benchmarks.search_efficiency.record meshhead choose
    python -m benchmarks.search_efficiency choose benchmarks/search_efficiency/meshhead_choose.jsonl

`record` trains random configurations to the end and keeps their curves, the commands `choose` and `report` let studies search
among them. A method is chosen by one file of a stage and reported on the other.
"""
