# A role for each of pgark's credentials. Only writer belongs on the database's host.

locals {
  roles = toset(["writer", "reader", "janitor", "repairer"])

  # What each role may do in each bucket. Where the bucket makes the copy, nobody writes there but S3: what is there can be read, let go and repaired.
  grants = merge([
    for role in local.roles : {
      "${role}-primary" = {
        role   = role
        policy = local.documents["primary"]["${role}${local.lock}${local.replicated}${role == "janitor" ? local.removing : ""}"]
      }
      "${role}-copy" = {
        role   = role
        policy = local.documents["copy"]["${role == "writer" && var.copy_by == "bucket" ? "reader" : role}${local.lock}${role == "janitor" ? local.removing : ""}"]
      }
    }
  ]...)
}

data "aws_iam_policy_document" "trust" {
  provider = aws.primary
  for_each = local.roles

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type = "AWS"
      identifiers = lookup(var.trusted, each.key, [
        "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root",
      ])
    }
  }
}

resource "aws_iam_role" "this" {
  provider = aws.primary
  for_each = local.roles

  name                 = "${var.name}-${each.key}"
  description          = "pgark: ${each.key} of s3://${var.primary_bucket}/${var.prefix} and its copy"
  assume_role_policy   = data.aws_iam_policy_document.trust[each.key].json
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "this" {
  provider = aws.primary
  for_each = local.grants

  name   = "pgark-${each.key}"
  role   = aws_iam_role.this[each.value.role].id
  policy = jsonencode(each.value.policy)
}
