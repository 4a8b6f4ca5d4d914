"""What every page of projects and runs shares: the admin's frame around it, and the trail that leads to it."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

Crumb = tuple[str, str]
"""A text and the address it leads to; a blank address for the page itself."""


def crumb(text: object, view: str = "", *arguments: object) -> Crumb:
    return str(text), reverse(view, args=arguments) if view else ""


def page(
    request: HttpRequest, template: str, title: str, trail: tuple[Crumb, ...], *, status: int = 200, **context: Any
) -> HttpResponse:
    """The page in the admin's frame. ``trail`` ends with the page itself."""
    framed = {**admin.site.each_context(request), "title": title, "crumbs": trail, **context}
    return render(request, template, framed, status=status)
