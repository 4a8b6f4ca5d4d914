"""Who sees what: the one gate that every list, form field and page of customer data passes."""

from typing import Self, TypeAlias, TypeVar

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin
from django.db.models import Manager, Model, QuerySet

Viewer: TypeAlias = AbstractBaseUser | AnonymousUser
M = TypeVar("M", bound=Model)


class VisibleQuerySet(QuerySet[M, M]):
    """A query set that can be narrowed to what one user may see."""

    def visible_to(self, user: Viewer) -> Self:
        """All rows for active staff with the model's view permission (superusers have it), none for others."""
        meta = self.model._meta
        may_view = isinstance(user, PermissionsMixin) and user.has_perm(f"{meta.app_label}.view_{meta.model_name}")
        return self.all() if may_view and getattr(user, "is_staff", False) else self.none()


class VisibleManager(Manager[M]):
    """The manager of a model whose rows are shown to people through ``visible_to`` only."""

    def get_queryset(self) -> VisibleQuerySet[M]:
        return VisibleQuerySet(self.model, using=self._db)

    def visible_to(self, user: Viewer) -> VisibleQuerySet[M]:
        return self.get_queryset().visible_to(user)
