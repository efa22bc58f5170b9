"""A plan with a cheaper search before it; touches nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from objectives.errors import UserError
from objectives.settings.config import Experiment
from objectives.settings.config_errors import describe_option
from objectives.settings.plan import database_in
from objectives.settings.plan import LoraPlan
from objectives.settings.sections.proxy import ProxySettings


__all__ = ["proxy_name", "with_proxy", "with_share"]


def with_share(experiment: Experiment, share: float | None) -> Experiment:
    """The experiment with the share of `--proxy`, if it is given.

    Raises:
        UserError: It is no share.
    """
    if share is None:
        return experiment
    own = {} if experiment.proxy is None else dict(experiment.proxy)
    try:
        return experiment.model_copy(update={"proxy": ProxySettings(**{**own, "share": share})})
    except ValidationError as error:
        rule = describe_option(error, ProxySettings).replace("--share", "--proxy")
        raise UserError(rule) from None


def with_proxy(plan: LoraPlan, *, of_proxy: bool) -> LoraPlan:
    """The plan with what is searched first, whose study it then learns from.

    Args:
        plan: Without.
        of_proxy: Whether this process is a worker of the proxy: then its plan alone.

    Raises:
        UserError: The search cannot go on from another one.
    """
    settings = plan.experiment.proxy
    if settings is None:
        return plan
    proxy = _proxy(plan, settings, of_proxy=of_proxy)
    if of_proxy:
        return proxy
    if plan.settings.sampler != "bamsoo":
        raise UserError(
            f"--proxy: bamsoo learns from the smaller search, and the sampler is "
            f"{plan.settings.sampler}; take --sampler bamsoo, or leave --proxy and [proxy] out"
        )
    if plan.engine is not None:
        raise UserError(
            f"--proxy with --on {plan.engine.name}: is searched on this machine; search it as an "
            "experiment of its own, with `[data] share`, and give that study as --previous"
        )
    previous = [*plan.settings.previous, proxy.name]
    study = plan.settings.model_copy(update={"previous": previous})
    experiment = plan.experiment.model_copy(update={"study": study})
    return replace(plan, experiment=experiment, proxy=None if plan.search_only else proxy)


def proxy_name(study: str) -> str:
    """The name of the smaller study."""
    return f"{study}-proxy"


def _proxy(plan: LoraPlan, settings: ProxySettings, *, of_proxy: bool) -> LoraPlan:
    trials = settings.trials or plan.trials
    if trials is None:
        raise UserError(
            "--proxy with a budget alone: how many trials the smaller search has must be said; "
            "write `[proxy] trials` = 20, for example"
        )
    name = proxy_name(plan.name)
    folder = plan.folder.with_name(name)
    seconds = _half_of_the_time(plan)
    until = plan.until  # a worker's is its command's
    if until is not None and seconds is not None and not of_proxy:
        until -= seconds
    return replace(
        plan,
        experiment=_smaller(plan.experiment, settings, name, seconds),
        name=name,
        url=plan.settings.storage or database_in(folder),
        folder=folder,
        workers=None if of_proxy else plan.workers or 1,
        search_only=True,
        worker_argv=(*plan.one_process_argv, "--of-proxy", "--search-only"),
        trials=trials,
        until=until,
        test_follows=False,
    )


def _half_of_the_time(plan: LoraPlan) -> float | None:
    """Seconds; None where the budget is no time."""
    seconds = None if plan.budget is None else plan.budget.seconds
    return None if seconds is None else seconds / 2


def _smaller(
    experiment: Experiment, settings: ProxySettings, name: str, seconds: float | None
) -> Experiment:
    data, model = experiment.data, experiment.model
    budget = None if seconds is None else f"{seconds:.10g}s"
    changes: dict[str, Any] = {
        "data": data.model_copy(update={"share": data.share * settings.share}),
        "study": experiment.study.model_copy(update={"name": name, "budget": budget}),
        "proxy": None,
    }
    if settings.model is not None:
        changes["model"] = model.model_copy(update={"name": settings.model, "revision": None})
    return experiment.model_copy(update=changes)
