"""What is taken out: single weights, or whole parts. One file a structure, a class with

* `plan(job) -> Plan`: what will go; nothing is changed;
* `apply(job, plan) -> Plan`: takes it out of `job.model` and returns the plan with what became known meanwhile.
"""
